"""What displays have in common."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Display:
    """A picture that holds its numbers; after ``plot`` it has ``ax_`` and ``figure_``."""

    ax_: "Axes"
    figure_: Any

    def _drawn(self, axis: "Axes") -> None:
        self.ax_, self.figure_ = axis, axis.figure
