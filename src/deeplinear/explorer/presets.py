"""Pictures of the literature as states of the laboratory, each with what to look at and what it
means.
"""

import dataclasses

from .state import State


@dataclasses.dataclass(frozen=True)
class Preset:
    """A state with a title, and two sentences: what to look at, and what it means."""

    title: str
    look: str
    meaning: str
    state: State


#: By the name that addresses have.
PRESETS = {
    "cmv4": Preset(
        "Small starts end at rank one (CMV 2023, Fig. 4)",
        "Move the depth from 1 to ∞: at 1 the points stay where they started, and from 2 on they "
        "gather on the dashed hyperbola, the completions of rank one, ever closer to its corners.",
        "Nothing in the loss prefers one completion to another; depth alone, through the metric in "
        "which training descends, picks low rank.",
        State(preset="cmv4", depth=5.0),
    ),
    "cmv5": Preset(
        "Where the volume is (CMV 2023, Fig. 5)",
        "Compare the bright regions of the map with the points: both hug the hyperbola, and are "
        "densest at its corners.",
        "The Riemannian volume says how many network states stand behind each matrix; the paper "
        "proposes that training is drawn to it, which holds as an order of completions, not as a "
        "density of endpoints.",
        State(preset="cmv5", depth=10.0, runs=300),
    ),
    "rc": Preset(
        "Norms diverge, the rank falls (Razin, Cohen 2020)",
        "Three entries are observed (w12 = w21 = 1, w22 = 0) and w11 is free: the crosses are "
        "runs from starts with det W > 0, still on their way outwards as their effective rank "
        "falls to 1.",
        "There is no completion of rank one with finite entries: a bias to small norms would stop "
        "these runs, and the bias of depth to low rank drives them on for ever.",
        State(
            preset="rc",
            observed=("12", "21", "22"),
            values=(0.92, 1.0, 1.0, 0.0),
            depth=3.0,
            runs=300,
            reach=30.0,
            map="energy",
        ),
    ),
    "sy": Preset(
        "Coupled or not (after Shin, Yun 2026)",
        "At depth 2 and this larger start the points spread along and off the hyperbola; go to "
        "depth 3 and on, and watch the histogram of effective ranks move to 1.",
        "The observed entries share no row and no column: depth 2 couples them through the "
        "start alone, which a large start washes out, while deeper networks couple them by "
        "themselves.",
        State(preset="sy", depth=2.0, scale=0.3),
    ),
    "langevin": Preset(
        "Noise and entropy (Langevin)",
        "Each point is a chain that has diffused for 10 units of time: raise β and the cloud "
        "narrows about the completions, lower it and it fills the plane.",
        "With noise the network does not end at a minimum but samples e^(−βE) times the "
        "Riemannian volume: the map is what it prefers where the loss is flat.",
        State(preset="langevin", depth=3.0, scale=0.3, runs=300, beta=30.0, reach=3.0),
    ),
    "lazy": Preset(
        "From rich to lazy (unbalanced networks)",
        "Raise the imbalance δ from 0: the points leave the hyperbola and come back to where "
        "they started, near the centre, and the histogram moves from rank 1 to rank 2.",
        "An unbalanced network trains on another leaf: where δ is large beside σ^(2/N) of the "
        "start it moves like a linear model, lazily, and the bias to low rank is gone.",
        State(preset="lazy", depth=2.0, delta=0.1, scale=1e-2, runs=100),
    ),
    "decay": Preset(
        "Weight decay leaves rank one",
        "The small singular value does not stop at a plateau: it decays exponentially, while the "
        "endpoints slide along the hyperbola to its corners.",
        "Weight decay of the factors is a penalty (λN/2) Σ σ^(2/N) on W: the deeper the network, "
        "the closer to a count of the rank.",
        State(preset="decay", depth=3.0, scale=0.1, runs=300, decay=0.01),
    ),
}
