"""What a recipe would give, without obtaining anything."""

import tempfile
from collections import defaultdict
from pathlib import Path

from musicssl_training.corpus.build import BuildConfig, chosen
from musicssl_training.corpus.obtain import KINDS
from musicssl_training.corpus.recipe import Recipe
from musicssl_training.corpus.tables import table


def dry_run(recipe: Recipe, config: BuildConfig) -> str:
    """Return a table of the sources: hours and sizes by the lock file, and where they would be had.

    Raises
    ------
    ConfigError
        As `build_corpus`.
    """
    seconds: dict[str, float] = defaultdict(float)
    sizes: dict[str, int] = defaultdict(int)
    for (name, _), locked in recipe.lock.items():
        seconds[name] += locked.seconds
        sizes[name] += locked.size
    lines = []
    sources = chosen(recipe, config)
    with tempfile.TemporaryDirectory() as scratch:
        for spec in sources:
            hours = min(seconds[spec.name] / 3600, spec.max_hours)
            licences = [spec.licence, *(rule.licence for rule in spec.licences)]
            known = f"{hours:.2f}" if seconds[spec.name] else "?"
            size = f"{sizes[spec.name] / 1e6:.1f}" if sizes[spec.name] else "?"
            lines.append(
                (
                    spec.name,
                    known,
                    size,
                    ", ".join(dict.fromkeys(filter(None, licences))) or "by its index",
                    KINDS[spec.kind].at_hand(spec, config.places, Path(scratch)),
                )
            )
    total = sum(min(seconds[spec.name] / 3600, spec.max_hours) for spec in sources)
    whole = sum(sizes[spec.name] for spec in sources) / 1e6
    lines.append(("total", f"{total:.2f}", f"{whole:.1f}", "", ""))
    return table(("source", "hours", "MB", "licences", "where"), lines)
