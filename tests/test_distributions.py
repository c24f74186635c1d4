"""Published tables: what is stored, its moments, and inverting it."""

import math
from fractions import Fraction
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsim.rng import stream
from lbsim.workload.distributions import Distribution, _invert, names, published, read_table

# What the source states beside its table (HomaSimulation: first line of each file; W5 in packets of 1460
# bytes; JET and Cheetah simulations: the mean that sets the connection rate).
STATED_MEANS = {
    "homa_fb_cachefollower_intracluster": (692975.6, 1e-6),
    "homa_fb_webserver_intracluster": (62874.27, 1e-6),
    "homa_w1_fb_keyvalue": (187.77, 2e-3),  # stated for the law before its sizes were rounded to bytes
    "homa_w2_google_search_rpc": (440.7907, 1e-6),
    "homa_w3_google_all_rpc": (2927.354, 1e-6),
    "homa_w4_fb_hadoop": (127796.6, 1e-6),
    "homa_w5_dctcp_websearch": (1744.70 * 1460, 1e-5),
    "cheetah_hadoop_conn_duration_s": (21.334035066373556, 1e-14),
    "silkroad_server_downtime_s": (1786.0, 5e-4),
    "imix": ((7 * 60 + 4 * 590 + 1514) / 12, 1e-14),
    "imix_ip": (340.333, 1e-5),
    "imix_l2": (361.833, 1e-5),
}
# mean and mean square as published with the service laws
SERVICE_MOMENTS = {
    "zygos_bimodal1": (1, 3.25),
    "zygos_bimodal2": (1, 250.75),
    "shinjuku_bimodal_50_1_50_100": (50.5, 5000.5),
    "shinjuku_bimodal_995_05_005_500": (2.9975, 1250.24875),
    "shinjuku_trimodal": (37, 3367),
    "racksched_bimodal_90_50_10_500": (95, 27250),
    "racksched_bimodal_50_50_50_500": (275, 126250),
    "racksched_trimodal": (1850, 8417500),
}


def law(values, cdf, interpolation="linear"):
    return Distribution("own", np.array(values), np.array(cdf), interpolation, "bytes", "this test")


@st.composite
def laws(draw, interpolations=("linear", "step", "log")):
    interpolation = draw(st.sampled_from(interpolations))
    least = 1 if interpolation == "log" else 0
    n = draw(st.integers(1, 12))
    values = sorted(draw(st.lists(st.integers(least, 1000), min_size=n, max_size=n)))
    cdf = sorted(draw(st.lists(st.integers(0, 64), min_size=n, max_size=n)))
    return law(values, [*(c / 64 for c in cdf[:-1]), 1.0], interpolation)


def plain_quantile(table, u):
    """Invert by the definition: the first row whose share reaches u, and the piece that ends there."""
    k = len(table.cdf)
    reach = (i for i in range(k) if table.cdf[i] >= u and (u > 0 or table.cdf[i] > 0))
    i = next(reach)
    if i == 0 or table.interpolation == "step":
        return table.values[i]
    part = (u - table.cdf[i - 1]) / (table.cdf[i] - table.cdf[i - 1])
    low, high = table.values[i - 1], table.values[i]
    return low * (high / low) ** part if table.interpolation == "log" else low + part * (high - low)


@pytest.mark.parametrize("name", names())
def test_every_table_loads_and_is_a_distribution(name):
    table = published(name)
    assert table.name == name
    assert table.source
    assert table.unit in {"bytes", "KB", "s", "us", "means"}
    assert (np.diff(table.values) >= 0).all()
    assert (np.diff(table.cdf) >= 0).all()
    assert table.values[0] >= 0
    assert table.cdf[-1] == 1
    assert not table.values.flags.writeable
    lines = (files("lbsim.workload") / "data" / f"{name}.csv").read_text("utf-8").splitlines()
    assert lines[0].startswith("# source: ")


def test_the_tables_are_all_there_and_listed_with_their_licence():
    readme = (files("lbsim.workload") / "data" / "README.md").read_text("utf-8")
    assert set(STATED_MEANS) | set(SERVICE_MOMENTS) <= set(names())
    assert len(names()) == 29
    for name in names():
        table = published(name)
        (row,) = (line for line in readme.splitlines() if line.startswith(f"| {name}.csv |"))
        assert row.endswith(f"| {table.interpolation} | {table.unit} |")
        assert f"| {table.source} |" in row


@pytest.mark.parametrize("name", STATED_MEANS)
def test_a_table_has_the_mean_its_source_states(name):
    mean, tolerance = STATED_MEANS[name]
    assert published(name).mean == pytest.approx(mean, rel=tolerance)


@pytest.mark.parametrize("name", SERVICE_MOMENTS)
def test_a_service_law_has_its_published_moments(name):
    table = published(name)
    assert (table.mean, table.second_moment) == pytest.approx(SERVICE_MOMENTS[name], rel=1e-12)


def test_two_sources_give_the_same_web_search_flows():
    a, b = published("hkust_dctcp_websearch"), published("hpcc_websearch")
    assert np.array_equal(a.values, b.values)
    assert np.array_equal(a.cdf, b.cdf)


def test_an_imix_frame_is_its_ip_packet_with_an_ethernet_header_padded_to_60_bytes():
    frames, packets, with_fcs = (published(n) for n in ("imix", "imix_ip", "imix_l2"))
    assert np.array_equal(frames.values, np.maximum(packets.values + 14, 60))
    assert np.array_equal(frames.values + 4, with_fcs.values)


def test_an_unknown_name_is_answered_with_near_ones():
    with pytest.raises(ValueError, match="homa_w4_fb_hadoop"):
        published("w4_fb_hadoop")
    with pytest.raises(ValueError, match=r"no published distribution is named '\.\./README'"):
        published("../README")


def test_moments_in_closed_form():
    uniform = law([2, 8], [0, 1])
    assert (uniform.mean, uniform.second_moment) == (5, 28)
    log = law([1, math.e], [0, 1], "log")
    assert log.mean == pytest.approx(math.e - 1, rel=1e-15)
    assert log.second_moment == pytest.approx((math.e**2 - 1) / 2, rel=1e-15)
    atom = law([3, 3, 5], [0.25, 0.5, 1])  # half of it exactly 3, half uniform over 3..5
    assert atom.mean == 0.5 * 3 + 0.5 * 4


@settings(deadline=None)
@given(laws())
def test_moments_are_the_integrals_of_powers_of_the_quantile(table):
    # Gauss-Legendre per piece of the quantile function: exact for the polynomials, 1e-9 for the exponentials
    nodes, weights = np.polynomial.legendre.leggauss(24)
    edges = np.unique(np.concatenate([[0.0], table.cdf]))
    low, width = edges[:-1, None], np.diff(edges)[:, None]
    u = low + width * (nodes + 1) / 2
    for power, moment in ((1, table.mean), (2, table.second_moment)):
        integral = float((table.quantile(u) ** power * weights / 2 * width).sum())
        assert moment == pytest.approx(integral, rel=1e-9)


@settings(deadline=None)
@given(laws(("step",)))
def test_the_moments_of_a_step_law_are_exact(table):
    shares = [Fraction(b) - Fraction(a) for a, b in zip([0, *table.cdf[:-1]], table.cdf, strict=True)]
    exact = sum(p * Fraction(v) for p, v in zip(shares, table.values, strict=True))
    assert table.mean == pytest.approx(float(exact), rel=1e-14)


@settings(deadline=None)
@given(laws(), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_a_quantile_is_the_inverse_by_definition(table, shares):
    assert table.quantile(shares) == pytest.approx([plain_quantile(table, u) for u in shares], rel=1e-12)


@settings(deadline=None)
@given(laws(("linear", "log")))
def test_a_quantile_meets_every_row_it_can_reach(table):
    first = np.searchsorted(table.cdf, table.cdf)  # rows of equal share: the least value answers
    positive = table.cdf > 0
    assert np.array_equal(table.quantile(table.cdf)[positive], table.values[first][positive])


@settings(deadline=None)
@given(laws(), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_quantiles_rise_with_the_share_and_stay_in_the_table(table, shares):
    x = table.quantile(sorted(shares))
    assert (np.diff(x) >= 0).all()
    assert x.min() >= table.values[0]
    assert x.max() <= table.values[-1]


@settings(deadline=None)
@given(laws(), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_the_quantile_is_the_first_value_whose_share_reaches_u(table, shares):
    u = np.array(shares)
    x = table.quantile(u)
    rounding = 0 if table.interpolation == "step" else 1e-12
    assert (table.cdf_at(x) >= u - rounding).all()
    less = x * (1 - 1e-9)
    assert ((table.cdf_at(less) <= u + rounding) | (x == 0)).all()


@settings(deadline=None)
@given(st.floats(1e-9, 1), st.sampled_from(["linear", "log"]))
def test_where_the_law_is_continuous_cdf_and_quantile_undo_each_other(u, interpolation):
    rising = law([1, 10, 1000], [0, 0.5, 1], interpolation)
    assert rising.cdf_at(rising.quantile(u)) == pytest.approx(u, abs=1e-14, rel=1e-13)


def test_the_cdf_outside_the_values_is_0_and_1():
    for interpolation in ("linear", "step", "log"):
        table = law([2, 4], [0.25, 1], interpolation)
        at = table.cdf_at([-1, 0, 1.999, 2, 4, 5, math.inf])
        assert at.tolist() == [0, 0, 0, 0.25, 1, 1, 1]
    assert law([2, 4], [0, 1]).cdf_at(3) == 0.5
    assert law([2, 8], [0, 1], "log").cdf_at(4) == pytest.approx(0.5, rel=1e-15)
    assert law([2, 4], [0.25, 1], "step").cdf_at(3.9) == 0.25


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(ValueError, match="give shares between 0 and 1"):
        published("imix").quantile([0.5, share])


@pytest.mark.parametrize("interpolation", [0, 1, 2])
def test_the_kernel_is_its_own_plain_python(interpolation):
    table = published("homa_w4_fb_hadoop")
    compiled = stream(1, "sizes").random(2000)
    plain = compiled.copy()
    _invert(compiled, table.values, table.cdf, table._guide, interpolation)
    _invert.py_func(plain, table.values, table.cdf, table._guide, interpolation)
    assert compiled == pytest.approx(plain, rel=1e-15)


@pytest.mark.parametrize(
    "name", ["imix", "hpcc_alistorage2019", "homa_w3_google_all_rpc", "hkust_vl2_datamining"]
)
def test_samples_follow_the_law(name):
    table, n = published(name), 200_000
    x = table.sample(stream(3, "sizes"), n)
    sigma = math.sqrt(table.second_moment - table.mean**2)
    assert abs(x.mean() - table.mean) < 5.5 * sigma / math.sqrt(n)
    # Dvoretzky-Kiefer-Wolfowitz with Massart's constant: beyond this distance with probability < 1e-9
    distance = math.sqrt(math.log(2 / 1e-9) / (2 * n))
    at = np.unique(np.concatenate([table.values, table.quantile(np.linspace(0, 1, 101))]))
    empirical = np.searchsorted(np.sort(x), at, side="right") / n
    assert np.abs(empirical - table.cdf_at(at)).max() < distance


def test_a_step_table_draws_only_what_it_lists_and_never_a_row_of_no_share():
    table = law([1, 2, 2, 3, 9], [0, 0.3, 0.5, 0.5, 1], "step")
    assert set(table.sample(stream(1, "sizes"), 10_000)) == {2.0, 9.0}
    assert table.quantile([0, 0.5, np.nextafter(0.5, 1)]).tolist() == [2, 2, 9]


def test_samples_are_the_quantiles_of_the_stream():
    table = published("hpcc_websearch")
    u = stream(5, "sizes").random(1000)
    assert np.array_equal(table.sample(stream(5, "sizes"), 1000), table.quantile(u))


HEADER = "# source: me\n# interpolation: linear\n# unit: bytes\n"


def test_a_users_table_is_read(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(
        "\ufeff" + HEADER + "# any other remark\nvalue,cdf\n10, 0.5\n\n20,0.999999999999\n", "utf-8"
    )
    table = read_table(path)
    assert (table.name, table.unit, table.source) == ("mine", "bytes", "me")
    assert table.values.tolist() == [10, 20]
    assert table.cdf.tolist() == [0.5, 1]
    assert table.mean == pytest.approx(12.5)


@settings(deadline=None)
@given(table=laws())
def test_a_written_table_reads_back_the_same(table, tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    rows = "".join(f"{v!r},{c!r}\n" for v, c in zip(table.values.tolist(), table.cdf.tolist(), strict=True))
    path.write_text(
        f"# source: s\n# interpolation: {table.interpolation}\n# unit: us\nvalue,cdf\n{rows}", "utf-8"
    )
    back = read_table(path)
    assert np.array_equal(back.values, table.values)
    assert np.array_equal(back.cdf, table.cdf)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("1,0.5\n2,0.4\n3,1\n", r"row 2 \(2,0\.4\): cdf falls"),
        ("1,0.5\n0.5,0.7\n3,1\n", r"row 2 \(0\.5,0\.7\): the value is below the row before"),
        ("1,0.5\n2,0.4\n1,1\n", r"row 2 \(2,0\.4\): cdf falls"),  # the first of two faults
        ("1,0.5\n2,0.9\n", r"row 2 \(2,0\.9\): the last cdf must be 1"),
        ("1,50\n2,100\n", r"row 1 \(1,50\): cdf is outside 0\.\.1: divide percentages by 100"),
        ("1,-0.1\n2,1\n", r"row 1 .*cdf is outside"),
        ("1,0.1\n2,nan\n3,1\n", r"row 2 .*cdf is outside"),
        ("1,0.1\nnan,0.2\n3,1\n", r"row 2 .*not a plain number"),
        ("1,0.1\ninf,1\n", r"row 2 .*not a plain number"),
        ("-1,0.1\n3,1\n", r"row 1 \(-1,0\.1\): the value is negative"),
        ("1,0.5,7\n2,1\n", r"line 4: '1,0\.5,7' is not two numbers"),
        ("1,0.5\n2;1\n", r"line 5: '2;1' is not two numbers"),
        ("one,0.5\n2,1\n", r"line 4: 'one,0\.5' is not two numbers"),
        ("", "has no rows"),
    ],
)
def test_a_bad_table_is_refused_by_its_row(tmp_path, rows, says):
    path = tmp_path / "bad.csv"
    path.write_text(HEADER + rows)
    with pytest.raises(ValueError, match=f"table 'bad'.*{says}"):
        read_table(path)


@pytest.mark.parametrize("lost", ["source", "interpolation", "unit"])
def test_a_table_without_a_header_line_is_told_which(tmp_path, lost):
    path = tmp_path / "bad.csv"
    path.write_text("".join(f"{line}\n" for line in HEADER.splitlines() if lost not in line) + "1,1\n")
    with pytest.raises(ValueError, match=f"lacks a line '# {lost}: ...'"):
        read_table(path)


def test_unknown_or_impossible_interpolation_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'cubic' is not one of linear, step, log"):
        law([1], [1], "cubic")
    with pytest.raises(ValueError, match=r"row 1 \(0,0\): log interpolation needs values above 0"):
        law([0, 1], [0, 1], "log")
    with pytest.raises(ValueError, match="two columns of one length"):
        law([0, 1], [1])


def test_what_is_not_a_table_of_bounded_size_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="is not a file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="is not a file"):
        read_table(tmp_path)
    path = tmp_path / "big.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not UTF-8"):
        read_table(path)
    path.write_text(HEADER + "1,0.5\n" * 50 + "2,1\n")
    assert len(read_table(path).values) == 51
    monkeypatch.setattr("lbsim.workload.distributions.MAX_ROWS", 50)
    with pytest.raises(ValueError, match="more than 50 rows"):
        read_table(path)
    monkeypatch.setattr("lbsim.workload.distributions.MAX_BYTES", 100)
    with pytest.raises(ValueError, match="is larger than"):
        read_table(path)
