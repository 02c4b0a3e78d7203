"""An experiment run from Python: its dataset, numbers and figure, without a folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..extras import needed_by
from ..labels import printable
from ..plots import letter_panels
from ..progress import ProgressCallback
from .registry import Experiment, load_experiment
from .runner import simulate, write_experiment

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


class ExperimentResult:
    """What `run` returns.

    ``experiment`` has title, source and conclusion, ``dataset`` all numbers with their units
    (an ``xarray.Dataset``), and ``record`` how they were made.
    """

    def __init__(
        self, experiment: Experiment, dataset: "xr.Dataset", record: dict[str, Any]
    ) -> None:
        self.experiment, self.dataset, self.record = experiment, dataset, record

    def plot(self, *, letters: bool = False) -> "Figure":
        """The figure of the experiment; ``letters`` marks its panels a, b, c. A notebook shows it
        where it is a cell's last line.
        """
        from matplotlib import pyplot

        pyplot.draw_if_interactive()  # loads what a notebook shows figures by
        figure = self.experiment.draw(self.dataset)
        return letter_panels(figure) if letters else figure

    def summary(self) -> dict[str, str | float]:
        """The numbers beside the figure, by name."""
        return self.experiment.summary(self.dataset)

    def to_xarray(self) -> "xr.Dataset":
        """``dataset``."""
        return self.dataset

    def save(self, out: str | Path, *, force: bool = False) -> Path:
        """Write dataset, PNG, SVG, PDF, page and manifest into ``out``/NAME, as the command does;
        returns that folder. What is there is replaced with ``force`` only (`InputError`).
        """
        folder = Path(out) / self.experiment.name
        write_experiment(self.experiment, self.dataset, self.record, folder, force=force)
        return folder

    def __repr__(self) -> str:
        lines = [f"{self.experiment.name}: {self.experiment.title}"]
        for name, value in self.summary().items():
            shown = f"{value:.4g}" if isinstance(value, float) else value
            lines.append(f"  {name}: {shown}")
        return "\n".join(map(printable, lines))


def run(
    name: str,
    *,
    smoke: bool = False,
    seed: int = 0,
    progress: ProgressCallback | None = None,
    **settings: Any,
) -> ExperimentResult:
    """Run the experiment of this name, or a file of one's own, with ``settings`` changed.

    The other settings are those of the paper, or small ones with ``smoke``. It computes in double
    precision whatever JAX is set to. The command of the same is
    ``deeplinear experiment run NAME --set depths=3,50``.

    **Raises** `InputError` for an unknown name, a setting that the experiment does not have, and a
    value of another kind; `Stopped` if ``progress`` returns True.

    >>> import deeplinear as dl
    >>> result = dl.experiments.run("cmv_fig4", depths=(3, 50), runs=20)
    >>> result.dataset.sizes["run"], len(result.plot().axes)
    (20, 2)
    """
    with needed_by("experiments"):
        import jax

    experiment = load_experiment(name)
    with jax.enable_x64(True):
        dataset, record = simulate(experiment, smoke, seed, settings, progress)
    return ExperimentResult(experiment, dataset, record)
