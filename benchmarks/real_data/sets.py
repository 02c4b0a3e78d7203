"""The sets: where each comes from, what is hidden of it, and whether it was seen while designing.

Sets "kept back" were never looked at before the method was finished; they are run only when asked
for, once.
"""

from dataclasses import dataclass

import numpy as np

from deeplinear.completion.data.features import CodedTable, FeatureKind

from . import loaders as of


@dataclass(frozen=True)
class RealSet:
    """``hide``: a tenth of the "cells", "blocks" of successive rows, or most of some "rows" (see
    `hiding`). ``ordered``: rows in order of time or place; ``period``: rows of a day, where all
    days are whole. ``ratings``: one unit for all columns.
    """

    name: str
    domain: str
    load: of.Loader
    hide: str = "cells"
    ordered: bool = False
    period: int = 0
    ratings: bool = False
    kept_back: bool = False

    def kind(self, table: CodedTable) -> str:
        """In a few words, for the table of results."""
        labels = any(feature.kind is FeatureKind.category for feature in table.features)
        shape = table.values.shape
        words = {
            "mixed": labels,
            "ordered": self.ordered,
            "p ≫ n": shape[1] > 5 * shape[0] and not self.ratings,
            "blocks": self.hide == "blocks",
            "rows of few entries": self.hide == "rows",
        }
        return ", ".join([self.domain, *(word for word, holds in words.items() if holds)])


_proteins = of.csv("Data_Cortex_Nuclear.csv", of.only_numbers)
_air = of.csv("AirQualityUCI.csv", of.air, sep=";", decimal=",")
_metro = of.tensor("Hangzhou.mat", of.series)
_parks = of.tensor("Birmingham.mat", of.parks)
_items = of.csv("bfi.csv", lambda frame: frame.iloc[:, 1:26].to_numpy(float))
_drugs = of.csv("GDSC_IC50.csv", lambda frame: of.only_numbers(frame).T, index_col=0)
_crime = of.csv("communities.data", lambda frame: of.only_numbers(frame)[:, 5:], na_values="?")
_buoy = of.csv("ndbc_44013.txt", of.buoy, sep=r"\s+", skiprows=[1], na_values="MM")
_weeks = of.csv("eurostat_demo_r_mwk_ts.tsv", of.deaths_by_week, sep="\t")
_moods = of.of_r("msq", lambda frame: frame.iloc[:, :75].to_numpy(float))
_radiation = of.csv("surfrad-slv16001.dat", of.radiation, sep=r"\s+", skiprows=2, header=None)

SETS = (
    RealSet("wine", "chemistry", of.shipped("wine")),
    RealSet("cancer", "medicine", of.shipped("breast_cancer")),
    RealSet("horse", "medicine", of.horse),
    RealSet("genes", "biology", of.csv("data_set_ALL_AML_train.csv", of.samples_by_genes)),
    RealSet("proteins", "biology", _proteins),
    RealSet("proteins-rows", "biology", _proteins, hide="rows"),
    RealSet("bfi", "questionnaires", _items),
    RealSet("bfi-rows", "questionnaires", _items, hide="rows"),
    RealSet("digits", "images", of.shipped("digits")),
    RealSet("photo", "images", of.photograph("china.jpg"), ordered=True),
    RealSet("life", "society", of.life),
    RealSet("crime", "society", _crime),
    RealSet(
        "infant-mortality",
        "society",
        of.csv("worldbank_infant_mortality.csv", of.countries, skiprows=4),
        ordered=True,
    ),
    RealSet(
        "covid",
        "society",
        of.csv("time_series_covid19_deaths_global.csv", of.deaths_of_a_virus),
        ordered=True,
    ),
    RealSet("parks-blocks", "traffic", _parks, hide="blocks", ordered=True, period=18),
    RealSet("metro", "traffic", _metro, ordered=True, period=108),
    RealSet(
        "taxis",
        "traffic",
        of.tensor("NYC.mat", lambda tensor: tensor.reshape(-1, tensor.shape[2]).T),
        ordered=True,
        period=24,
    ),
    RealSet("air", "sensors", _air, ordered=True),
    RealSet("air-blocks", "sensors", _air, hide="blocks", ordered=True),
    RealSet("buoy", "sensors", _buoy, ordered=True),
    RealSet("beijing", "sensors", of.beijing, ordered=True),
    RealSet("drugs", "medicine", _drugs),
    RealSet(
        "jester", "ratings", of.csv("jester.csv", of.jokes, sep="\t", header=None), ratings=True
    ),
    RealSet(
        "ml-100k", "ratings", of.ratings("ml-100k_u.data", sep="\t", header=None), ratings=True
    ),
    RealSet("ml-latest-small", "ratings", of.ratings("ml-latest-small_ratings.csv"), ratings=True),
    RealSet("hepatitis", "medicine", of.hepatitis, kept_back=True),
    RealSet("cars", "machines", of.cars, kept_back=True),
    RealSet("penguins", "biology", of.penguins, kept_back=True),
    RealSet("moods", "questionnaires", _moods, kept_back=True),
    RealSet("moods-rows", "questionnaires", _moods, hide="rows", kept_back=True),
    RealSet("flower", "images", of.photograph("flower.jpg"), ordered=True, kept_back=True),
    RealSet("deaths", "society", _weeks, ordered=True, kept_back=True),
    RealSet("deaths-blocks", "society", _weeks, hide="blocks", ordered=True, kept_back=True),
    RealSet(
        "population",
        "society",
        of.csv("worldbank_population.csv", lambda frame: np.log(of.countries(frame)), skiprows=4),
        ordered=True,
        kept_back=True,
    ),
    RealSet(
        "states",
        "economy",
        of.of_r("Produc", of.economy_of_states),
        ordered=True,
        kept_back=True,
    ),
    RealSet("radiation-blocks", "sensors", _radiation, hide="blocks", ordered=True, kept_back=True),
)
