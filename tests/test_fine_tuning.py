"""Training on top of a loaded model: what is trained, what is frozen, what is saved."""

import copy
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from test_encoders import TINY, noise, settle

import musicssl
from musicssl.checkpoint import ModelConfig
from musicssl.encoders import ENCODERS, DilatedConfig
from musicssl.encoders.pase.trunk import BatchNorm
from musicssl.errors import AudioError, ConfigError, FrozenModelWarning, ModelError
from musicssl.inference.options import EmbedOptions
from musicssl.masked_pooling import MASKED_POOLINGS
from musicssl.model import MusicEncoder, load_model
from musicssl.pooling import POOLINGS
from musicssl.space import Space


def fresh(name: str, **config: object) -> MusicEncoder:
    torch.manual_seed(0)
    kind = ENCODERS[name][1]
    model = MusicEncoder(ModelConfig(encoder=kind(**TINY[name]), **config))  # type: ignore[arg-type]
    settle(model.encoder)
    return model.eval()


def trained(model: MusicEncoder) -> set[str]:
    return {name for name, x in model.named_parameters() if x.requires_grad}


def with_gradient(model: MusicEncoder) -> set[str]:
    return {name for name, x in model.named_parameters() if x.grad is not None}


def step(model: MusicEncoder, **forward: object) -> None:
    """Take one step of gradient descent."""
    optimizer = torch.optim.SGD([x for x in model.parameters() if x.requires_grad], lr=0.1)
    optimizer.zero_grad()
    model(noise(2, 4000), **forward).square().mean().backward()
    optimizer.step()


def space(model: MusicEncoder) -> str:
    return Space.of(model, EmbedOptions().resolve(model)).id


@pytest.fixture
def loaded(tiny_model_folder: Path) -> MusicEncoder:
    return load_model(tiny_model_folder, device="cpu")


@pytest.fixture
def trainable(tiny_model_folder: Path) -> MusicEncoder:
    return load_model(tiny_model_folder, device="cpu", trainable=True)


@pytest.fixture
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.usefixtures("no_warnings")
def test_a_trainable_model_learns_and_others_are_frozen(
    loaded: MusicEncoder, trainable: MusicEncoder
) -> None:
    assert not trained(loaded)
    assert not trainable.training  # as every loaded one
    before = copy.deepcopy(trainable.state_dict())
    step(trainable.train())
    changed = {name for name, x in trainable.state_dict().items() if not x.equal(before[name])}
    names = {name for name, _ in trainable.named_parameters()}
    assert with_gradient(trainable) == trained(trainable) == names
    assert changed <= names  # some gradients are too small to count
    assert len(changed) > len(names) / 2
    with pytest.raises(ConfigError, match="trainable must be True or False, got 'yes'"):
        load_model(trainable="yes")  # type: ignore[arg-type]


def test_training_a_frozen_model_is_told_once(loaded: MusicEncoder) -> None:
    with pytest.warns(FrozenModelWarning, match="trainable=True") as told:
        torch.nn.Sequential(loaded, torch.nn.Linear(16, 2)).train()  # as Lightning does
        for _ in range(3):
            loaded.eval().train()
    assert len(told) == 1


@pytest.mark.usefixtures("no_warnings")
def test_who_says_that_it_is_meant_hears_nothing(loaded: MusicEncoder) -> None:
    copy.deepcopy(loaded).freeze().train()
    copy.deepcopy(loaded).requires_grad_(False).train()
    copy.deepcopy(loaded).unfreeze().train()
    loaded.eval()


def test_freezing_a_part_of_a_frozen_model_is_told(loaded: MusicEncoder) -> None:
    with pytest.warns(FrozenModelWarning):
        loaded.freeze(upto=1).train()


@pytest.mark.parametrize("name", ENCODERS)
def test_every_trained_parameter_gets_a_gradient_for_any_layer(name: str) -> None:
    model = fresh(name)
    for layer in range(model.layers):
        model.freeze().unfreeze(layer)
        model.zero_grad()
        model(noise(2, 4000), layer=layer).square().sum().backward()
        assert with_gradient(model) == trained(model) != set()
    several = trained(model.freeze().unfreeze([0, model.layers - 1]))
    assert several >= trained(model.freeze().unfreeze(0))


def test_freezing_up_to_a_layer_leaves_what_is_above() -> None:
    model = fresh("dilated")
    below, above = "encoder.blocks.2.", "encoder.blocks.3."
    model.freeze(upto=3)
    names = trained(model)
    assert not any(name.startswith(("encoder.stem.", below)) for name in names)
    assert any(name.startswith(above) for name in names)
    assert trained(fresh("dilated").freeze().unfreeze(above=3)) == names
    values = model(noise(1, 4000), layer=3).detach()
    step(model.train())
    assert torch.equal(model(noise(1, 4000), layer=3), values)
    assert not trained(model.freeze())
    for wrong in (99, 1.5, "top"):
        with pytest.raises(ConfigError, match="layer"):
            model.freeze(upto=wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="layer 8 needs nothing above layer 8"):
        model.unfreeze(above=8)
    with pytest.raises(ConfigError, match="layer 2 needs nothing above layer 3"):
        model.unfreeze(2, above=3)


def test_layers_above_the_models_own_stay_frozen_and_asking_for_them_is_told() -> None:
    model = fresh("dilated", layer=(2,)).freeze().unfreeze().train()
    assert not any(name.startswith("encoder.blocks.2.") for name in trained(model))
    with pytest.warns(FrozenModelWarning, match=r"layer 5 .* unfrozen for layer 2") as told:
        model(noise(1, 4000), layer=5)
        model(noise(1, 4000), layer=5)
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.unfreeze(5)(noise(1, 4000), layer=5)


def test_running_statistics_follow_the_batches_in_training_and_stay_where_frozen() -> None:
    model = fresh("pase_plus")
    norms = [x for x in model.encoder.modules() if isinstance(x, BatchNorm)]

    def moved() -> list[bool]:
        before = [x.running_mean.clone() for x in norms]
        model(3 * noise(2, 4000))
        return [not x.running_mean.equal(y) for x, y in zip(norms, before, strict=True)]

    assert not any(moved())
    model.train()
    assert all(moved())
    model.freeze(upto=2)  # the first three blocks and their skips
    assert moved() == [False] * 3 + [True] * (len(norms) - 3)
    model.freeze()
    assert model.training
    assert not any(moved())
    model.requires_grad_()
    assert all(moved())


def test_embedding_between_two_epochs_is_that_of_evaluation_and_changes_no_mode() -> None:
    model = fresh("pase_plus").freeze(upto=2)
    clip = noise(9000).numpy()
    wanted = model.embed(clip, model.sample_rate)
    modes = [x.training for x in model.train().modules()]
    state = copy.deepcopy(model.state_dict())
    np.testing.assert_array_equal(model.embed(clip, model.sample_rate), wanted)
    assert [x.training for x in model.modules()] == modes
    assert {*modes} == {True, False}
    assert all(x.equal(state[name]) for name, x in model.state_dict().items())


@pytest.mark.parametrize("pooling", MASKED_POOLINGS)
def test_pooled_frames_are_the_clip_embedding(pooling: str) -> None:
    model = fresh("dilated").requires_grad_(False)
    clips = [noise(n).numpy() for n in (9000, 3000, 883)]
    lengths = torch.tensor([len(clip) for clip in clips])
    batch = torch.nn.utils.rnn.pad_sequence([*map(torch.from_numpy, clips)], batch_first=True)
    found = model.pool(model(batch, lengths), lengths, pooling=pooling)
    wanted = model.embed(clips, model.sample_rate, pooling=pooling)
    np.testing.assert_allclose(found.numpy(), wanted, atol=2e-6)
    alone = model.pool(model(batch[:1]), pooling=pooling)
    torch.testing.assert_close(alone, found[:1], atol=1e-6, rtol=0)


def test_pooling_is_that_of_embed_by_name_and_by_default() -> None:
    assert {*MASKED_POOLINGS} == {*POOLINGS} - {"none"}
    model = fresh("dilated", pooling="meanstd")
    assert model.pool(torch.zeros(2, 3, 16)).shape == (2, model.clip_dim)
    with pytest.raises(ConfigError, match="pooling 'none' is unknown"):
        model.pool(torch.zeros(2, 3, 16), pooling="none")
    with pytest.raises(AudioError, match=r"must be a tensor \(batch, frames, values\), got \(3"):
        model.pool(torch.zeros(3, 16))
    with pytest.raises(AudioError, match="samples must be a tensor of 2 whole numbers"):
        model.pool(torch.zeros(2, 3, 16), torch.tensor([5]))


@pytest.mark.parametrize("pooling", MASKED_POOLINGS)
def test_gradients_of_pooling_are_finite_where_nothing_varies(pooling: str) -> None:
    model = fresh("dilated")
    frames = torch.ones(2, 4, 16).requires_grad_()
    model.pool(frames, torch.tensor([3000, 10]), pooling=pooling).sum().backward()
    assert frames.grad is not None
    assert frames.grad.isfinite().all()
    assert frames.grad[0].any()
    assert not frames.grad[1, 1:].any()  # beyond the end


@pytest.mark.parametrize("name", ENCODERS)
def test_a_training_step_under_autocast_is_near_that_in_full_precision(name: str) -> None:
    model = fresh(name).train()
    gradients = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            frames = model(noise(2, 8000))
            loss = model.pool(frames).square().mean()
        assert frames.dtype is torch.float32
        model.zero_grad()
        loss.backward()
        gradients.append(torch.cat([x.grad.flatten() for x in model.parameters()]))
    assert torch.cosine_similarity(*gradients, dim=0) > 0.95


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ENCODERS)
def test_weights_in_half_precision_give_nearly_the_same_frames(
    name: str, dtype: torch.dtype
) -> None:
    model = fresh(name).requires_grad_(False)
    full = model(noise(2, 8000))
    half = model.to(dtype)(noise(2, 8000))
    assert half.dtype is torch.float32
    assert torch.cosine_similarity(full.flatten(), half.flatten(), dim=0) > 0.99


# torch's own convolution gives weights (channels, 1, width) gradients of other strides
@pytest.mark.filterwarnings("ignore:Grad strides do not match:UserWarning")
def test_distributed_training_finds_no_unused_parameters() -> None:
    from torch import distributed

    model = fresh("dilated", layer=(4,)).freeze().unfreeze(above=1).train()
    store = distributed.HashStore()
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        parallel = torch.nn.parallel.DistributedDataParallel(model)
        for _ in range(3):  # what is unused raises at the second step
            parallel(noise(2, 4000)).square().mean().backward()
    finally:
        distributed.destroy_process_group()
    assert with_gradient(model) == trained(model)


def test_a_compiled_model_trains_alike() -> None:
    config = DilatedConfig(**TINY["dilated"], dilations=(2,))  # type: ignore[arg-type]
    model = MusicEncoder(ModelConfig(encoder=config)).train()
    compiled = torch.compile(copy.deepcopy(model), backend="eager")
    for one in (model, compiled):
        one(noise(2, 4000)).square().mean().backward()
    for a, b in zip(model.parameters(), compiled.parameters(), strict=True):
        assert a.grad is not None
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_are_trained_and_frozen_alike(
    again: type, loaded: MusicEncoder, trainable: MusicEncoder
) -> None:
    twin = again(loaded)
    assert not trained(twin)
    assert twin.weights_sha256 == loaded.weights_sha256 != ""
    trainable.freeze(upto=1)
    step(trainable)
    twin = again(trainable)
    assert trained(twin) == trained(trainable)
    assert space(twin) == space(trainable) != space(loaded)
    assert torch.equal(twin(noise(1, 4000)), trainable(noise(1, 4000)))


def test_a_fine_tuned_model_is_another_space_in_memory_and_on_disk(
    loaded: MusicEncoder, trainable: MusicEncoder, tmp_path: Path
) -> None:
    assert space(trainable) == space(loaded)  # nothing has changed yet
    step(trainable)
    assert trainable.weights_sha256 == ""
    saved = load_model(trainable.save_pretrained(tmp_path / "tiny"), device="cpu")
    assert len({space(loaded), space(trainable), space(saved)}) == 3
    state = trainable.state_dict()
    loaded.load_state_dict(state)
    assert space(loaded) == space(trainable)
    assert torch.equal(loaded(noise(1, 4000)), trainable(noise(1, 4000)))


def test_the_same_weights_in_another_order_are_noticed(loaded: MusicEncoder) -> None:
    weight = next(p for p in loaded.parameters() if p.ndim > 1)
    before = loaded.weights_sha256
    weight.data.copy_(weight.data.flip(0))
    assert before and loaded.weights_sha256 == ""
    weight.data.copy_(weight.data.flip(0))
    assert loaded.weights_sha256 == before


def test_weights_changed_behind_autograds_back_are_noticed(loaded: MusicEncoder) -> None:
    before = space(loaded)
    weight = loaded.encoder.stem.mel.weight
    kept = weight.detach().clone()
    weight.data.mul_(0.999)  # as averages of weights are often written
    assert space(loaded) != before
    weight.data.copy_(kept)
    assert space(loaded) == before
    loaded.spread *= 1.001
    assert space(loaded) != before


def test_what_diverged_is_not_saved_over_what_did_not(
    trainable: MusicEncoder, tmp_path: Path
) -> None:
    file = trainable.save_pretrained(tmp_path) / "model.safetensors"
    before = file.read_bytes()
    with torch.no_grad():
        trainable.encoder.norm.bias[0] = 1e6
        with pytest.raises(ModelError, match=r"norm.bias holds .* as fp16.*'fp32' may hold"):
            trainable.save_pretrained(tmp_path)
        trainable.encoder.norm.bias[0] = torch.nan
    with pytest.raises(ModelError, match=r"norm.bias holds .* did training diverge"):
        trainable.save_pretrained(tmp_path, dtype="fp32")
    assert file.read_bytes() == before


def test_the_warning_is_a_public_name() -> None:
    assert issubclass(musicssl.FrozenModelWarning, UserWarning)
