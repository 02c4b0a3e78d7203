"""Results drawn, labelled and told: what is drawn is what the result holds."""

import dataclasses
import subprocess
import sys
from io import BytesIO

import jax
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot

import deeplinear as dl

mpl.use("Agg")
TARGET = np.array([[2.0, np.nan, 0.5], [0.7, 1.0, np.nan]])
START = np.array([[0.03, 0.01, -0.02], [0.01, 0.02, 0.01]])
TIMES = np.linspace(0.0, 6.0, 13)


@pytest.fixture(autouse=True)
def _close():
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def energy():
    return dl.Completion.from_dense(TARGET)


@pytest.fixture(scope="module")
def results(energy):
    """One of each kind, by name; of several runs where there may be."""
    planar = dl.Completion.from_dense(np.array([[0.9, np.nan], [np.nan, 0.9]]))
    plain = dict(chart="dense", rtol=1e-4)
    factors = dl.normal_factors((2, 3, 2), 0.3, key=1)
    several = jax.vmap(
        lambda s: dl.gradient_flow(energy, s * START, 2, t1=6.0, saveat=TIMES, **plain)
    )
    return {
        "flow": dl.gradient_flow(energy, START, 3, t1=6.0, saveat=TIMES, **plain),
        "end": dl.gradient_flow(energy, START, 3, t1=6.0, **plain),
        "stopped": dl.gradient_flow(energy, START, 3, t1=6.0, max_steps=3, saveat=TIMES, **plain),
        "factors": dl.factor_flow(energy, dl.balanced_factors(START, 2, 0), t1=1.0, rtol=1e-4),
        "vmap": several(np.array([0.5, 1.0, 2.0])),
        "ensemble": dl.ensemble(planar, dl.normal_start((2, 2), 0.5), 3, runs=12, seed=0),
        "paths": dl.ensemble(
            planar, dl.normal_start((2, 2), 0.5), 3, runs=6, seed=0, times=[0.5, 1.0, 4.0]
        ),
        "unfinished": dl.ensemble(
            planar, dl.normal_start((2, 2), 0.5), 3, runs=12, seed=0, max_steps=6
        ),
        "chains": dl.langevin(
            planar, np.diag([2.0, 1.0]), 2, 4.0, t1=0.5, dt=0.1, key=0, chains=5,
            saveat=[0.0, 0.2, 0.5],
        ),
        "walk": dl.brownian(np.diag([2.0, 1.0]), 2, t1=0.5, dt=0.1, key=0, chains=5),
        "gibbs": dl.sample_gibbs(planar, 2, 4.0, key=0, chains=4, samples=30, warmup=20),
        "descent": dl.descend(
            planar, factors, optimizer=0.1, steps=60, records=("energy", "singular_values", "W"),
            record_at=20,
        ),
        "runs": dl.descend(
            planar, [np.stack([W, 2 * W]) for W in factors], optimizer=0.1, steps=60,
            records=("loss",), record_at=20,
        ),
        "geodesic": dl.geodesic.exp(np.diag([2.0, 1.0]), np.eye(2), 2, np.linspace(0, 1, 4)),
        "logarithm": dl.geodesic.log(np.diag([2.0, 1.0]), np.array([[1.0, 0.5], [0.1, 1.0]]), 2),
        "ball": dl.ball_volume(np.diag([2.0, 1.0]), 3, 0.5, key=0, samples=400),
    }  # fmt: skip


def lines(axis):
    return [np.array(line.get_data()) for line in axis.lines]


def thin(axis, which=0):
    return [np.array(path.vertices) for path in axis.collections[which].get_paths()]


class TestPictures:
    def test_a_flow(self, results):
        flow = results["flow"]
        singular, energy = flow.plot()
        for line, s in zip(lines(singular), np.asarray(flow.singular_values).T, strict=True):
            np.testing.assert_array_equal(line[0], TIMES)
            np.testing.assert_allclose(line[1], s, rtol=1e-14)
        np.testing.assert_array_equal(lines(energy)[0], [TIMES, flow.energy])
        assert singular.get_xlabel() == "time t (with the factor 1/N)"
        assert singular.get_yscale() == "log"
        labels = [text.get_text() for text in singular.get_legend().get_texts()]
        assert labels == [r"$\sigma_{1}$", r"$\sigma_{2}$"]

    def test_effective_rank_and_path_of_one_flow(self, results):
        flow = results["flow"]
        rank, path = flow.plot("effective_rank", "paths")
        expected = [float(dl.effective_rank(W)) for W in flow.W]
        np.testing.assert_allclose(lines(rank)[0][1], expected, rtol=1e-12)
        np.testing.assert_array_equal(thin(path)[0], np.asarray(flow.W)[:, 0, :2])
        np.testing.assert_array_equal(path.collections[1].get_offsets(), flow.W[-1:, 0, :2])
        other = flow.plot("endpoints", plane=((1, 2), (0, 1)))
        np.testing.assert_array_equal(
            other.collections[0].get_offsets(), [[flow.W[-1, 1, 2], flow.W[-1, 0, 1]]]
        )
        assert (other.get_xlabel(), other.get_ylabel()) == ("$w_{23}$", "$w_{12}$")

    def test_ends_alone(self, results):
        end = results["end"]
        axis = end.plot()
        np.testing.assert_allclose(lines(axis)[0], [[1, 2], end.singular_values], rtol=1e-14)
        with pytest.raises(dl.InputError, match="'energy' needs points on the way: give saveat="):
            end.plot("energy")
        ends, ranks = results["walk"].plot()
        offsets = ends.collections[0].get_offsets()
        assert len(offsets) == 5
        W = np.asarray(results["walk"].W).reshape(5, 4)
        spread = np.sort(np.argsort(-np.ptp(W, axis=0))[:2])
        np.testing.assert_array_equal(offsets, W[:, spread])
        assert sum(bar.get_height() for bar in ranks.patches) == 5

    def test_several_flows_and_chains(self, results):
        for name, count in (("vmap", 3), ("chains", 5)):
            found = results[name]
            singular, energy = found.plot()
            for i, s in enumerate(np.moveaxis(np.asarray(found.singular_values), -1, 0)):
                for run, values in zip(thin(singular, i), s, strict=True):
                    np.testing.assert_allclose(run[:, 1], values, rtol=1e-14)
                np.testing.assert_allclose(lines(singular)[i][1], np.median(s, axis=0), rtol=1e-14)
            np.testing.assert_array_equal([run[:, 1] for run in thin(energy)], found.energy)
            labels = [text.get_text() for text in energy.get_legend().get_texts()]
            assert len(labels) == 1
            assert labels[0].startswith(f"{count} ")

    def test_an_ensemble(self, results):
        found = results["ensemble"]
        ends, ranks = found.plot()
        np.testing.assert_array_equal(ends.collections[0].get_offsets(), found.W[:, [0, 1], [1, 0]])
        expected = [float(dl.effective_rank(W)) for W in found.W]
        heights = [bar.get_height() for bar in ranks.patches]
        np.testing.assert_array_equal(heights, np.histogram(expected, 40, (1, 2))[0])
        with pytest.raises(dl.InputError, match="give times="):
            found.plot("paths")
        paths = results["paths"]
        axis = paths.plot("paths")
        np.testing.assert_array_equal(thin(axis), paths.path[..., [0, 1], [1, 0]])

    def test_runs_that_did_not_end_as_asked_are_told(self, results):
        found = results["unfinished"]
        assert not found.ok.all()
        ends, ranks = found.plot()
        there = np.isfinite(found.W).all((1, 2))
        shown = [len(points.get_offsets()) for points in ends.collections]
        assert sum(shown) == there.sum()
        for axis in (ends, ranks):
            text = " ".join(text.get_text() for text in axis.get_legend().get_texts())
            assert "max_steps" in text
        assert "largest number of" in results["stopped"].plot("energy").get_title()

    def test_descents(self, results):
        found = results["descent"]
        energy, singular = found.plot()
        np.testing.assert_array_equal(
            lines(energy)[0], [found.record_steps, found.records["energy"]]
        )
        np.testing.assert_array_equal(
            [line[1] for line in lines(singular)], found.records["singular_values"].T
        )
        last = lines(found.plot("spectrum"))[0][1]
        np.testing.assert_allclose(last, found.singular_values, rtol=1e-15)
        runs = results["runs"]
        loss = np.stack([run[:, 1] for run in thin(runs.plot())])
        np.testing.assert_array_equal(loss, runs.records["loss"])

    def test_samples_and_estimates(self, results):
        gibbs = results["gibbs"]
        singular, energy = gibbs.plot()
        np.testing.assert_array_equal([run[:, 1] for run in thin(energy)], gibbs.energy)
        assert "do not agree" in energy.get_title().replace("\n", " ")
        assert len(singular.patches) == 2
        ball = results["ball"]
        np.testing.assert_array_equal(
            lines(ball.plot())[0], [ball.trace.samples, ball.trace.log_volume]
        )
        geodesic = results["geodesic"]
        values = [line[1] for line in lines(geodesic.plot())]
        np.testing.assert_allclose(
            values, np.linalg.svd(geodesic.W, compute_uv=False).T, rtol=1e-14
        )

    def test_on_given_axes(self, results):
        figure, (left, right) = pyplot.subplots(1, 2)
        flow = results["flow"]
        assert flow.plot(ax=left) is left
        assert flow.plot("energy", ax=right) is right
        assert list(flow.plot(ax=(left, right))) == [left, right]
        figure.savefig(BytesIO())
        assert pyplot.get_fignums() == [figure.number]
        with pytest.raises(dl.InputError, match="one Axes for each of the 2 pictures, got 1"):
            flow.plot("energy", "paths", ax=left)
        with pytest.raises(dl.InputError, match=r"no picture 'nothing'.*singular_values"):
            flow.plot("nothing")
        with pytest.raises(dl.InputError, match=r"plane must be .* in 2×3, got \(\(0, 0\), \(5, 5"):
            flow.plot("endpoints", plane=((0, 0), (5, 5)))

    def test_every_picture_is_rendered(self, results):
        for name, found in results.items():
            if hasattr(found, "plot"):
                axes = np.atleast_1d(np.asarray(found.plot(), dtype=object)).ravel()
                axes[0].figure.savefig(BytesIO()), name
                pyplot.close("all")


MATRICES = {  # what of each is in its data set, by the name that it has there
    "flow": ("W", "energy", "error", "log_singular_values", "status", "t_end"),
    "end": ("W", "energy", "error", "log_singular_values", "status", "t_end"),
    "factors": ("W", "energy"),
    "vmap": ("W", "energy", "log_singular_values", "status", "t_end"),
    "ensemble": ("W", "start", "energy", "error", "steps", "ending"),
    "paths": ("W", "path", "energy"),
    "chains": ("W", "energy", "det_sign", "log_singular_values", "status"),
    "walk": ("W", "det_sign", "log_singular_values", "status"),
    "gibbs": ("W", "energy", "log_singular_values"),
    "descent": ("W", "energy", "loss", "gradient", "status", "period", "steps"),
    "runs": ("W", "energy", "loss", "gradient", "status"),
    "geodesic": ("W", "velocity", "length", "error", "status"),
    "logarithm": ("Z", "distance", "error", "status"),
}


class TestData:
    @pytest.mark.parametrize("name", MATRICES)
    def test_values_go_round_bit_for_bit(self, results, name):
        found, data = results[name], results[name].to_xarray()
        frame = found.to_frame()
        for key in MATRICES[name]:
            values = np.asarray(getattr(found, key))
            np.testing.assert_array_equal(data[key].values, values)
            assert data[key].attrs["units"]
            inner = tuple(d for d in data[key].dims if d in ("row", "column", "k"))
            outer = [d for d in data[key].dims if d not in inner]
            if key in ("status", "ending"):
                continue
            for place in np.ndindex(*(data.sizes[d] for d in inner)):
                column = "_".join([key, *(str(i + 1) for i in place)])
                one = data[key].isel(dict(zip(inner, place, strict=True)))
                rows = frame.drop_duplicates(outer) if outer else frame[:1]
                np.testing.assert_array_equal(rows[column], one.values.ravel(), err_msg=column)
        assert data.attrs["result"] == type(found).__name__
        assert "deeplinear" in data.attrs["versions"]

    def test_dimensions_coordinates_and_attributes(self, results):
        data = results["flow"].to_xarray()
        assert data["W"].dims == ("time", "row", "column")
        np.testing.assert_array_equal(data["time"], TIMES)
        assert data.attrs["depth"] == 3.0
        assert data.attrs["status"] == dl.Status.reached_t1.sentence
        assert data["status"].attrs["flag_meanings"] == "reached_t1"
        assert "1/N" in data["time"].attrs["units"]
        chains = results["chains"].to_xarray()
        assert chains["W"].dims == ("chain", "time", "row", "column")
        assert results["vmap"].to_xarray().attrs["depth"] == 2.0
        assert results["vmap"].to_xarray()["W"].dims == ("run", "time", "row", "column")
        factors = results["factors"]
        data = factors.to_xarray()
        assert data["factor_2"].dims == ("row", "width_1")
        assert data["factor_1"].dims == ("width_1", "column")
        np.testing.assert_array_equal(data["factor_1"], factors.factors[0])
        records = results["descent"].to_xarray()
        assert records["record_W"].dims == ("step", "row", "column")
        np.testing.assert_array_equal(records["record_W"], results["descent"].records["W"])

    def test_times_that_differ_between_runs_stay_on_all_axes(self, results):
        found = results["chains"]
        ts = np.array(found.ts)
        ts[2, -1] = np.inf
        data = dataclasses.replace(found, ts=ts).to_xarray()
        np.testing.assert_array_equal(data["t"], ts)
        assert data["t"].dims == ("chain", "time")

    def test_frames_are_tidy(self, results):
        frame = results["chains"].to_frame()
        assert list(frame.columns[:2]) == ["chain", "time"]
        assert len(frame) == 5 * 3
        assert set(frame["status"]) == {"reached_t1"}
        assert not frame.duplicated(["chain", "time"]).any()

    def test_a_data_set_can_be_written_and_read(self, results, tmp_path):
        import xarray

        data = results["chains"].to_xarray()
        data.to_zarr(tmp_path / "a", zarr_format=3, consolidated=False)
        again = xarray.open_zarr(tmp_path / "a", consolidated=False)
        assert again.attrs == data.attrs
        np.testing.assert_array_equal(again["W"], data["W"])

    @pytest.mark.parametrize(
        ("package", "extra"), [("xarray", "experiments"), ("pandas", "frames")]
    )
    def test_without_the_extra(self, results, monkeypatch, package, extra):
        monkeypatch.setitem(sys.modules, package, None)
        method = "to_xarray" if package == "xarray" else "to_frame"
        with pytest.raises(dl.InputError, match=rf"need {package}; run: pip .*\[{extra}\]"):
            getattr(results["flow"], method)()


class TestText:
    def test_a_flow_says_how_it_ended(self, results):
        text = repr(results["flow"])
        assert text.startswith("FlowResult(2×3, depth 3: t = 6 after ")
        assert dl.Status.reached_t1.sentence in text
        assert f"energy {float(results['flow'].energy[-1]):.3g}, rank 2 (effective" in text
        assert "13 saved times" in text
        assert 1 <= text.count("\n") + 1 <= 3
        assert dl.Status.max_steps.sentence in repr(results["stopped"])

    def test_several_say_how_many_ended_how(self, results):
        assert repr(results["vmap"]).startswith("FlowResult(3 flows, 2×3, depth 2: t = 6 after")
        assert "reached_t1: 3" in repr(results["vmap"])
        assert "reached_t1: 5" in repr(results["chains"])
        assert "max_steps" in repr(results["unfinished"])
        assert repr(results["ensemble"]).startswith("EnsembleResult(12 runs, 2×2, depth 3; limit: ")

    def test_all_are_short(self, results):
        for name, found in results.items():
            assert repr(found).count("\n") < 3, name
            assert "Array" not in repr(found), name

    def test_under_transformations(self, energy):
        seen = []

        def end(scale):
            flow = dl.gradient_flow(energy, scale * START, 3, t1=0.5, chart="dense", rtol=1e-3)
            seen.append(repr(flow))
            for method in (flow.plot, flow.to_xarray, flow.to_frame):
                with pytest.raises(dl.InputError, match="outside jit"):
                    method()
            return flow.energy

        jax.vmap(end)(np.ones(2))
        assert seen
        assert all(text.startswith("FlowResult(2×3, traced: ") for text in seen)

    def test_nothing_is_compiled_for_a_text(self, results):
        with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(jax.stages.Lowered, "compile", lambda *_: pytest.fail("compiled"))
            before = jax.jit(lambda x: x)._cache_size()
            for found in results.values():
                repr(found)
            assert jax.jit(lambda x: x)._cache_size() == before


def test_drawing_loads_matplotlib_only_when_it_draws():
    code = (
        "import sys, numpy as np, deeplinear as dl; "
        "e = dl.Completion.from_dense(np.eye(2)); "
        "f = dl.gradient_flow(e, 0.1 * np.eye(2) + 0.01, 2, t1=0.1, rtol=1e-2, chart='dense'); "
        "repr(f); assert 'matplotlib' not in sys.modules and 'xarray' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
