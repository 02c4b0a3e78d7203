"""Data: generators against their definitions, and downloads against a server on the loopback
interface.
"""

import contextlib
import hashlib
import http.server
import io
import socketserver
import threading
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import deeplinear as dl
from deeplinear.errors import DownloadError, InputError


def archive(member, text):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        file.writestr(member, text)
    return buffer.getvalue()


class Server:
    """Serves bytes by path, with ranges, an ETag, and on request a connection that breaks
    half-way.
    """

    def __init__(self):
        self.files, self.requests, self.break_after, self.version = {}, [], None, '"one"'
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                outer.requests.append(dict(self.headers))
                data = outer.files.get(self.path)
                if data is None:
                    self.send_error(404)
                    return
                start = 0
                wanted = self.headers.get("Range")
                if wanted and self.headers.get("If-Range") == outer.version:
                    start = int(wanted.removeprefix("bytes=").rstrip("-"))
                    if start >= len(data):
                        self.send_error(416)
                        return
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(data) - start))
                self.send_header("ETag", outer.version)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                self.end_headers()
                stop = len(data) if outer.break_after is None else start + outer.break_after
                outer.break_after = None
                self.wfile.write(data[start:stop])

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.server.shutdown()
    server.server.server_close()


LINES = {
    "100k": ("ml-100k.zip", "ml-100k/u.data", "7\t3\t4\t881250949\n9\t1\t2\t891717742\n"),
    "1m": ("ml-1m.zip", "ml-1m/ratings.dat", "7::3::4::881250949\n9::1::2::891717742\n"),
    "10m": ("ml-10m.zip", "ml-10M100K/ratings.dat", "7::3::4::881250949\n9::1::2::891717742\n"),
    "25m": (
        "ml-25m.zip",
        "ml-25m/ratings.csv",
        "userId,movieId,rating,timestamp\n7,3,4.0,1\n9,1,2.0,2\n",
    ),
    "32m": (
        "ml-32m.zip",
        "ml-32m/ratings.csv",
        "userId,movieId,rating,timestamp\n7,3,4.0,1\n9,1,2.0,2\n",
    ),
}


class TestDownloads:
    @pytest.mark.parametrize("size", LINES)
    def test_every_release_is_read(self, server, tmp_path, size):
        name, member, text = LINES[size]
        data = archive(member, text)
        server.files[f"/{name}"] = data
        checksum = "sha256:" + hashlib.sha256(data).hexdigest()
        ratings = dl.datasets.fetch_movielens(
            size, folder=tmp_path, host=server.url, checksum=checksum
        )
        assert ratings.users.tolist() == [7, 9]
        assert ratings.items.tolist() == [3, 1]
        assert ratings.values.tolist() == [4.0, 2.0]
        dl.datasets.fetch_movielens(size, folder=tmp_path, host=server.url, checksum=checksum)
        assert len(server.requests) == 1  # the second time it comes from the cache

    def test_the_published_checksum_is_the_default(self, server, tmp_path):
        server.files["/ml-100k.zip"] = archive(*LINES["100k"][1:])
        with pytest.raises(
            DownloadError, match="md5:0e33842e24a9c977be4e0107933c0723 was expected"
        ):
            dl.datasets.fetch_movielens("100k", folder=tmp_path, host=server.url)
        assert list(tmp_path.iterdir()) == []

    def test_a_broken_download_goes_on_where_it_stopped(self, server, tmp_path):
        rng = np.random.default_rng(0)
        lines = [
            f"{u}\t\t{i}\t\t{x:.3f}\n"
            for u, i, x in zip(range(500), range(500), rng.uniform(-10, 10, 500), strict=True)
        ]
        data = archive("jester_ratings.dat", "".join(lines))
        server.files["/j.zip"] = data
        server.break_after = 1000
        url = f"{server.url}/j.zip"
        with pytest.raises(DownloadError, match=r"broke off after 1,000 of|cannot be reached"):
            dl.datasets.fetch_jester(folder=tmp_path, url=url)
        ratings = dl.datasets.fetch_jester(folder=tmp_path, url=url)
        assert server.requests[-1]["Range"] == "bytes=1000-"
        assert len(ratings) == 500
        assert abs(ratings.values - rng.uniform(0, 0, 500)).max() <= 10
        assert (tmp_path / "jester_dataset_2.zip").read_bytes() == data
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "jester_dataset_2.zip",
            "jester_dataset_2.zip.sha256",
        ]

    def test_a_new_version_on_the_server_starts_from_the_beginning(self, server, tmp_path):
        old, new = (archive("jester_ratings.dat", f"1\t\t{k}\t\t{k}.5\n" * 200) for k in (3, 4))
        server.files["/j.zip"] = old
        server.break_after = 700
        with pytest.raises(DownloadError):
            dl.datasets.fetch_jester(folder=tmp_path, url=f"{server.url}/j.zip")
        server.files["/j.zip"], server.version = new, '"two"'
        assert set(dl.datasets.fetch_jester(folder=tmp_path, url=f"{server.url}/j.zip").values) == {
            4.5
        }

    def test_a_damaged_cache_is_noticed(self, server, tmp_path):
        server.files["/j.zip"] = archive("jester_ratings.dat", "1\t\t2\t\t3.5\n")
        path = tmp_path / "jester_dataset_2.zip"
        dl.datasets.fetch_jester(folder=tmp_path, url=f"{server.url}/j.zip")
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DownloadError, match="is damaged"):
            dl.datasets.fetch_jester(folder=tmp_path, url=f"{server.url}/j.zip")

    def test_offline_is_said(self, tmp_path):
        import socket

        with socket.socket() as taken:  # a port that nobody listens on
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            with pytest.raises(DownloadError, match=r"cannot be reached .* are you offline\?"):
                dl.datasets.fetch_movielens("1m", folder=tmp_path, host=f"http://127.0.0.1:{port}")

    def test_not_found_and_wrong_contents(self, server, tmp_path):
        with pytest.raises(DownloadError, match="answered 404"):
            dl.datasets.fetch_jester(folder=tmp_path, url=f"{server.url}/j.zip")
        server.files["/j.zip"] = b"<html>moved</html>"
        with pytest.raises(DownloadError, match="not the expected archive"):
            dl.datasets.fetch_jester(folder=tmp_path, url=f"{server.url}/j.zip")
        assert list(tmp_path.iterdir()) == []  # nothing of it is taken for the file from now on

    def test_an_unknown_size(self):
        with pytest.raises(InputError, match="size must be one of 100k, 1m"):
            dl.datasets.fetch_movielens("2m")

    def test_the_cache_folder_follows_the_environment(self, monkeypatch, tmp_path):
        from deeplinear.datasets.cache import cache_folder

        monkeypatch.setenv("DEEPLINEAR_DATA", str(tmp_path / "a"))
        assert cache_folder() == tmp_path / "a"
        monkeypatch.delenv("DEEPLINEAR_DATA")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
        assert cache_folder() == tmp_path / "b" / "deeplinear"
        (tmp_path / "file").touch()
        with pytest.raises(DownloadError, match="cannot be made"):
            cache_folder(tmp_path / "file" / "c")


WHOLE = archive("jester_ratings.dat", "".join(f"{k}\t\t3\t\t1.5\n" for k in range(400)))
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def chunks(data, step=1000):
    parts = [data[k : k + step] for k in range(0, len(data), step)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


# What a server, a proxy, or a broken line may answer.
ANSWERS = {
    "nothing": b"",
    "no status": b"hello\r\n\r\n",
    "half a status": b"HTTP/1.1 2",
    "a strange status": b"HTTP/1.1 abc OK\r\n\r\n",
    "a strange version": b"HTTP/9 200 OK\r\n\r\n",
    "an endless status": b"HTTP/1.1 200 " + b"x" * 100_000,
    "too many headers": OK + b"".join(b"X-%d: 1\r\n" % k for k in range(200)) + b"\r\n",
    "a strange length": OK + b"Content-Length: many\r\n\r\n" + WHOLE,
    "a length below": OK + b"Content-Length: 300\r\n\r\n" + WHOLE,
    "a length beyond": OK + b"Content-Length: 99999\r\n\r\n" + WHOLE,
    "no length, cut short": OK + b"\r\n" + WHOLE[:-100],
    "no length, empty": OK + b"\r\n",
    "chunks, cut short": CHUNKED + chunks(WHOLE)[:-200],
    "chunks without an end": CHUNKED + chunks(WHOLE),
    "a strange chunk": CHUNKED + b"zz\r\nabc\r\n",
    "a negative chunk": CHUNKED + b"-5\r\nabc\r\n",
    "a part of a file": b"HTTP/1.1 206 Partial\r\nContent-Length: 9\r\n\r\n" + WHOLE[:9],
    "always out of range": b"HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n",
    "moved in a circle": b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
    "moved to nowhere": b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
    "a page": OK + b"Content-Length: 18\r\n\r\n<html>log in</html>"[:-1],
}


@pytest.fixture
def raw():
    """A server that answers with given bytes, and closes the connection."""
    answers = [b""]

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            while self.rfile.readline().strip():
                pass
            with contextlib.suppress(OSError):
                self.wfile.write(answers[0])

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield answers, f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


class TestStrangeAnswers:
    @pytest.mark.parametrize("name", ANSWERS)
    def test_one_error_and_nothing_is_pinned(self, raw, tmp_path, name):
        answers, url = raw
        answers[0] = ANSWERS[name]
        with pytest.raises(DownloadError) as raised:
            dl.datasets.fetch_jester(folder=tmp_path, url=url)
        assert "\n" not in str(raised.value)
        assert len(str(raised.value)) < 500
        answers[0] = OK + b"Content-Length: %d\r\n\r\n" % len(WHOLE) + WHOLE
        assert len(dl.datasets.fetch_jester(folder=tmp_path, url=url)) == 400

    def test_a_whole_body_in_any_form(self, raw, tmp_path):
        answers, url = raw
        forms = [OK + b"\r\n" + WHOLE, CHUNKED + chunks(WHOLE) + b"0\r\n\r\n"]
        for k, answers[0] in enumerate(forms):
            (tmp_path / str(k)).mkdir()
            assert len(dl.datasets.fetch_jester(folder=tmp_path / str(k), url=url)) == 400

    def test_another_part_than_was_asked_for(self, raw, tmp_path):
        answers, url = raw
        name = "jester_dataset_2.zip.part"
        (tmp_path / name).write_bytes(WHOLE[:300])
        (tmp_path / f"{name}.version").write_text('"one"')
        head = (
            b"HTTP/1.1 206 Partial Content\r\nContent-Length: %d\r\nContent-Range: bytes %d-/*\r\n"
        )
        answers[0] = head % (len(WHOLE) - 200, 200) + b"\r\n" + WHOLE[200:]
        with pytest.raises(DownloadError, match="another part than was asked for"):
            dl.datasets.fetch_jester(folder=tmp_path, url=url)
        answers[0] = head % (len(WHOLE) - 300, 300) + b"\r\n" + WHOLE[300:]
        assert len(dl.datasets.fetch_jester(folder=tmp_path, url=url)) == 400

    @pytest.mark.parametrize("version", [b"\xff\xfe", b"a\nb: c", b""])
    def test_a_damaged_note_starts_from_the_beginning(self, server, tmp_path, version):
        server.files["/j.zip"] = WHOLE
        name = "jester_dataset_2.zip.part"
        (tmp_path / name).write_bytes(b"other")
        (tmp_path / f"{name}.version").write_bytes(version)
        assert len(dl.datasets.fetch_jester(folder=tmp_path, url=f"{server.url}/j.zip")) == 400

    @pytest.mark.parametrize(
        "url", ["http://", "nonsense", "http://a b/", "ftp2://x/", "http://127.0.0.1:99999/", ""]
    )
    def test_strange_addresses(self, tmp_path, url):
        with pytest.raises(DownloadError):
            dl.datasets.fetch_jester(folder=tmp_path, url=url)

    def test_a_full_disk_is_not_the_network(self, server, tmp_path, monkeypatch):
        server.files["/j.zip"] = WHOLE

        class Full(io.BytesIO):
            def write(self, _):
                raise OSError(28, "No space left on device")

        opened = Path.open

        def full(path, mode="r", *rest, **options):
            return Full() if mode in ("wb", "ab") else opened(path, mode, *rest, **options)

        monkeypatch.setattr(Path, "open", full)
        with pytest.raises(DownloadError, match=r"cannot hold .*No space left.*make room"):
            dl.datasets.fetch_jester(folder=tmp_path, url=f"{server.url}/j.zip")

    def test_a_damaged_checksum_note(self, server, tmp_path):
        server.files["/j.zip"] = WHOLE
        dl.datasets.fetch_jester(folder=tmp_path, url=f"{server.url}/j.zip")
        (tmp_path / "jester_dataset_2.zip.sha256").write_bytes(b"sha512:\xff")
        with pytest.raises(DownloadError, match="holds no checksum; delete it"):
            dl.datasets.fetch_jester(folder=tmp_path, url=f"{server.url}/j.zip")

    @pytest.mark.parametrize(
        "checksum", ["md4:0", "sha256:xyz", "0e33842e24a9c977be4e0107933c0723"]
    )
    def test_a_checksum_of_another_form(self, tmp_path, checksum):
        with pytest.raises(InputError, match="checksum must be"):
            dl.datasets.fetch_movielens(folder=tmp_path, checksum=checksum)


def with_flag(data):
    """As if its member were encrypted."""
    changed = bytearray(data)
    changed[6] |= 1
    changed[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


def with_method(data, method):
    changed = bytearray(data)
    changed[8:10] = changed[(at := data.index(b"PK\x01\x02") + 10) : at + 2] = method.to_bytes(
        2, "little"
    )
    return bytes(changed)


@pytest.mark.parametrize(
    "data",
    [
        archive("another.dat", "1\t\t2\t\t3\n"),
        archive("jester_ratings.dat", "1\t\t2\n"),
        archive("jester_ratings.dat", "1\t\t2\t\tx\n"),
        archive("jester_ratings.dat", "1\t\t2\t\tnan\n"),
        archive("jester_ratings.dat", "1.5\t\t2\t\t3\n"),
        archive("jester_ratings.dat", "1\t\t2\t\t3\n1\t\t2\n"),
        archive("jester_ratings.dat", "\n1\t\t2\t\t3\n"),
        archive("jester_ratings.dat", "\x00\xff"),
        with_flag(WHOLE),
        with_method(WHOLE, 8),
        with_method(WHOLE, 12),
        with_method(WHOLE, 14),
        with_method(WHOLE, 99),
    ],
)
def test_archives_of_something_else(tmp_path, data):
    """Also one that somebody has put there by hand."""
    (tmp_path / "jester_dataset_2.zip").write_bytes(data)
    with pytest.raises(DownloadError, match=r"is not the expected archive \(.*\); delete"):
        dl.datasets.fetch_jester(folder=tmp_path)


class TestLowRank:
    def test_entries_are_distinct_and_the_truth_has_the_rank(self):
        problem = dl.datasets.make_low_rank((60, 40), 3, observed=0.3, noise=0.0, seed=1)
        assert len(np.unique(problem.rows * 40 + problem.cols)) == len(problem.values) == 720
        s = np.linalg.svd(problem.matrix(), compute_uv=False)
        assert s[3] < 1e-12 * s[0]
        np.testing.assert_allclose(
            problem.at(problem.rows, problem.cols), problem.values, rtol=1e-12
        )

    def test_noise_has_its_size_and_entries_are_of_unit_size(self):
        problem = dl.datasets.make_low_rank((500, 400), 5, observed=50_000, noise=0.3, seed=2)
        gap = problem.values - problem.at(problem.rows, problem.cols)
        assert abs(gap.std() / 0.3 - 1) < 5 / np.sqrt(2 * 50_000)  # five standard errors
        assert 0.8 < problem.matrix().std() < 1.2

    def test_a_large_sparse_problem_costs_what_its_entries_cost(self):
        problem = dl.datasets.make_low_rank((10**6, 10**6), 2, observed=1000)
        assert len(np.unique(problem.rows * 10**6 + problem.cols)) == 1000

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"rank": 41}, "rank must lie"),
            ({"observed": 1.5}, "observed must ask for 1 to 2400"),
            ({"observed": 0}, "observed must ask"),
            ({"observed": None}, "observed must be"),
            ({"noise": -1.0}, "noise must be finite and ≥ 0"),
            ({"noise": np.nan}, "noise must be finite and ≥ 0"),
            ({"decay": None}, "decay must be finite and ≥ 0"),
            ({"oversampling": "a"}, "oversampling must be finite"),
            ({"observed": "a"}, "observed must be finite"),
            ({"observed": np.nan}, "observed must be finite"),
            ({"rank": "a"}, "rank must be an integer"),
            ({"seed": -1}, "seed must be an integer ≥ 0"),
            ({"shape": "ab"}, "shape must be"),
            ({"shape": (6.7, 4)}, "shape must be an integer"),
            ({"shape": (0, 3)}, "shape must be"),
        ],
    )
    def test_refusals(self, options, message):
        with pytest.raises(InputError, match=message):
            dl.datasets.make_low_rank(**{"shape": (60, 40), "rank": 3, **options})


class TestRatings:
    def test_marginals_resemble_a_film_site(self):
        ratings = dl.datasets.make_ratings(1000, 600, 40_000, seed=3)
        assert set(ratings.values) == {1.0, 2.0, 3.0, 4.0, 5.0}
        assert len(np.unique(ratings.pairs, axis=0)) == len(ratings)
        assert 3.3 < ratings.values.mean() < 3.9
        assert 0.95 < ratings.values.std() < 1.25
        per_user, per_item = (
            np.bincount(ratings.users)[1:],
            np.bincount(ratings.items, minlength=601)[1:],
        )
        assert per_user.min() >= 1
        for counts in (
            per_user,
            per_item,
        ):  # heavy tails: the upper tenth holds 28 % of the entries and more (uniform: 10 %)
            assert np.sort(counts)[-len(counts) // 10 :].sum() > 0.28 * counts.sum()
        # rated more where it is better: not missing at random
        means = np.bincount(ratings.items, ratings.values, minlength=601)[1:] / np.maximum(
            per_item, 1
        )
        often = per_item > np.median(per_item)
        assert means[often].mean() > means[~often & (per_item > 4)].mean() + 0.05

    def test_split_and_seed(self):
        ratings = dl.datasets.make_ratings(100, 50, 1000, seed=4)
        train, test = ratings.split(0.2, seed=1)
        assert len(test) == round(0.2 * len(ratings))
        both = np.vstack([train.pairs, test.pairs])
        assert len(np.unique(both, axis=0)) == len(ratings)
        again = dl.datasets.make_ratings(100, 50, 1000, seed=4)
        np.testing.assert_array_equal(again.values, ratings.values)

    def test_refusals(self):
        with pytest.raises(InputError, match="at most half"):
            dl.datasets.make_ratings(10, 10, 90)
        with pytest.raises(InputError, match="users must be an integer ≥ 1"):
            dl.datasets.make_ratings(0, 10, 5)
        for name, value in (("count", 10.5), ("signal", "a"), ("noise", -1.0), ("seed", "a")):
            with pytest.raises(InputError, match=f"^{name} must be"):
                dl.datasets.make_ratings(**{"users": 20, "items": 20, "count": 50, name: value})

    def test_a_fraction_of_any_floating_type(self):
        made = [
            dl.datasets.make_low_rank((20, 10), 2, observed=part)
            for part in (0.25, np.float32(0.25), Fraction(1, 4))
        ]
        assert [len(problem.values) for problem in made] == [50, 50, 50]


def test_the_bundled_table_is_complete_and_nearly_of_rank_one_after_the_seasons():
    X, years, months = dl.datasets.load_sea_surface()
    assert X.shape == (61, 12)
    assert years == list(range(1950, 2011))
    assert months[0] == "jan"
    assert np.isfinite(X).all()
    s = np.linalg.svd(X - X.mean(axis=0), compute_uv=False)
    assert s[0] ** 2 > 0.6 * (s**2).sum()
