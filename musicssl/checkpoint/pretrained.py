"""`Pretrained`: models to and from checkpoint folders and the Hugging Face Hub."""

import tempfile
from pathlib import Path
from typing import Never, Self, Unpack

import torch

from musicssl import arguments, forking
from musicssl.checkpoint.files import ModelConfig, read_config, read_weights, write_checkpoint
from musicssl.checkpoint.hashing import checksum
from musicssl.checkpoint.hub import (
    Patterns,
    PushKeywords,
    check_push,
    find_checkpoint,
    push_folder,
)
from musicssl.checkpoint.names import CONFIG
from musicssl.checkpoint.untrusted import printable
from musicssl.constant_buffers import ConstantBuffers
from musicssl.errors import ConfigError, ModelError, OutputError, shown


class Pretrained(ConstantBuffers):
    """A model made of a configuration, that can be saved and loaded."""

    config: ModelConfig
    model_id: str
    revision: str | None
    _file: tuple[str, tuple[int, ...]] = ("", ())  # its hash, and a checksum of what was read
    _frozen_on_loading = False  # and nobody has said since that this is meant

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if not isinstance(config, ModelConfig):
            raise ConfigError(
                f"config must be a ModelConfig, got {shown(config, kind=True)}; "
                "from_pretrained loads models."
            )
        self.config = config
        self.model_id, self.revision, self.weights_sha256 = "unsaved", None, ""

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights' file, for as long as these are its weights.

        Empty for weights that were never saved, or were trained, replaced or cast since.
        """
        sha256, read = self._file
        return sha256 if sha256 and checksum(self.state_dict()) == read else ""

    @weights_sha256.setter
    def weights_sha256(self, sha256: str) -> None:
        self._file = (sha256, checksum(self.state_dict()) if sha256 else ())

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        dtype: str = "fp16",
        push_to_hub: bool = False,
        repo_id: str | None = None,
        **keywords: Unpack[PushKeywords],
    ) -> Path:
        """Write config.json and model.safetensors, each appearing whole or not at all.

        Parameters
        ----------
        folder
            Made if it does not exist; other files in it stay.
        dtype
            Of the weights in the file: "fp16" or "fp32".
        push_to_hub
            Upload the folder as well, with its README.md if it has one.
        repo_id
            Repository to upload to; by default one of the folder's name.
        **keywords
            For the upload, as in `push_to_hub`.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        ConfigError
            If an argument cannot be what it is.
        ModelError
            If a weight cannot be saved, or the upload fails.
        OutputError
            If the folder cannot be written to.
        """
        arguments.no_more(keywords.keys() - PushKeywords.__annotations__, Pretrained.push_to_hub)
        if (keywords or repo_id is not None) and not arguments.flag(push_to_hub, "push_to_hub"):
            raise ConfigError(f"{next(iter(keywords), 'repo_id')} is for push_to_hub=True.")
        folder = arguments.path(folder, "folder")
        try:
            write_checkpoint(folder, self.config, self.state_dict(), dtype)
        except OSError as error:
            raise OutputError(f"cannot write to {folder}: {error.strerror or error}.") from error
        if push_to_hub:
            repo_id = folder.resolve().name if repo_id is None else repo_id
            push_folder(folder, repo_id, **check_push(repo_id, keywords))
        return folder

    def push_to_hub(
        self,
        repo_id: str,
        *,
        token: str | bool | None = None,
        private: bool | None = None,
        commit_message: str | None = None,
        revision: str | None = None,
        branch: str | None = None,
        create_pr: bool | None = None,
        allow_patterns: Patterns = None,
        ignore_patterns: Patterns = None,
        delete_patterns: Patterns = None,
        **unknown: Never,
    ) -> str:
        """Save to a temporary folder, upload it, and return the repository's address.

        As `musicssl.checkpoint.hub.push_folder`, which says what is what; `branch` is another name
        of `revision`.
        """
        arguments.no_more(unknown, Pretrained.push_to_hub)
        keywords: PushKeywords = {
            "token": token,
            "private": private,
            "commit_message": commit_message,
            "revision": revision,
            "branch": branch,
            "create_pr": create_pr,
            "allow_patterns": allow_patterns,
            "ignore_patterns": ignore_patterns,
            "delete_patterns": delete_patterns,
        }
        checked = check_push(repo_id, keywords)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return push_folder(folder, repo_id, **checked)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        **unknown: Never,
    ) -> Self:
        """Load a bundled model by name, a folder, or a Hugging Face repository, on the CPU.

        Parameters
        ----------
        model
            None for the bundled default.
        revision
            Branch, tag or commit of a repository.
        cache_dir, token, local_files_only, force_download
            As in `huggingface_hub.hf_hub_download`.
        **unknown
            None: other names are refused.

        Returns
        -------
        Self
            In evaluation mode, in fp32.

        Raises
        ------
        ConfigError
            If an argument is of a type that it cannot have.
        ModelError
            If it cannot be found, fetched or read.
        """
        arguments.no_more(unknown, Pretrained.from_pretrained)
        found = find_checkpoint(
            arguments.model_name(model),
            revision=None if revision is None else arguments.text(revision, "revision"),
            cache_dir=None if cache_dir is None else arguments.path(cache_dir, "cache_dir"),
            token=arguments.token(token),
            local_files_only=arguments.flag(local_files_only, "local_files_only"),
            force_download=arguments.flag(force_download, "force_download"),
        )
        loaded = cls.read_folder(found.folder)
        loaded.model_id, loaded.revision = found.model_id, found.revision
        return loaded

    @classmethod
    def read_folder(cls, folder: Path) -> Self:
        """Load a checkpoint folder, strictly.

        Raises
        ------
        ModelError
            If a file is missing or damaged, or the weights are not those of config.json.
        """
        forking.heed_fork()
        config = read_config(folder)
        # tensors that can be trained later, wherever and in whatever precision torch makes new ones
        with forking.uninterrupted(), torch.inference_mode(False):
            try:
                with torch.device("meta"):  # shapes without values, until the file is known to fit
                    model = cls(config)
            except ConfigError as error:
                raise ModelError(f"{printable(folder / CONFIG)}: {error}") from error
            shapes = {name: tuple(x.shape) for name, x in model.state_dict().items()}
            with torch.device("cpu"):
                weights, sha256 = read_weights(folder, shapes)
                if any(x.is_meta for name, x in model.named_buffers() if name not in shapes):
                    model = cls(config)  # an encoder that makes its constants on any device
                model.load_state_dict(weights, strict=True, assign=True)
                model.weights_sha256 = sha256
        model.model_id = folder.name
        model.requires_grad_(False).eval()
        model._frozen_on_loading = True
        return model
