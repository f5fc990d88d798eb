"""The page in a browser: keys move a slider, and the list is the model's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Tab, find_browser, open_browser
from tests.reports.pages import NASTY, marked_up
from tfcausal.reports.html import write_page
from tfcausal.reports.model_page import ModelPage, model_page
from tfcausal.serving.client import Recommender, load

BROWSER = find_browser()
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium is installed: apt-get install chromium"
)
K = 7


@pytest.fixture(scope="module")
def page(model: Path) -> ModelPage:
    return model_page(model, ["u5", "u80"], k=K)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, page: ModelPage) -> str:
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(page, path)
    return path.as_uri()


@pytest.fixture(scope="module")
def recommender(model: Path) -> Recommender:
    return load(model)


@pytest.fixture(scope="module")
def browser() -> Iterator[Tab]:
    assert BROWSER is not None
    with open_browser(BROWSER) as tab:
        yield tab


@pytest.fixture
def tab(browser: Tab, address: str) -> Iterator[Tab]:
    """The browser; nothing but files of the test is asked for, and nothing fails."""
    browser.requests.clear()
    browser.resize(1200)
    yield browser
    assert browser.complaints == []
    assert {request.partition(":")[0] for request in browser.requests} == {"file"}


def texts(tab: Tab, selector: str) -> list[str]:
    found: list[str] = tab.value(
        f"Array.from(document.querySelectorAll('{selector}'), e => e.textContent)"
    )
    return found


def assert_lists(
    tab: Tab, recommender: Recommender, user: str, weights: dict[str, float]
) -> None:
    expected = recommender.recommend(user, K, weights)
    assert texts(tab, "#list tbody th") == [one.item_id for one in expected]
    scores = [float(text) for text in texts(tab, "#list td:nth-child(4)")]
    assert scores == pytest.approx([one.score for one in expected], abs=2e-3)
    for place, cause in enumerate(("interest", "conformity"), 1):
        terms = texts(tab, f"#list .terms > span:nth-child({place})")
        assert [text.split()[0] for text in terms] == [cause] * K
        assert [float(text.split()[1]) for text in terms] == pytest.approx(
            [one.causes[cause] for one in expected], abs=2e-3
        )


def test_opens_as_exported(tab: Tab, address: str, recommender: Recommender) -> None:
    tab.open(address)
    assert_lists(tab, recommender, "u5", {})
    assert texts(tab, "#status") == ["As exported: every cause has weight 1."]
    assert texts(tab, "#list td:nth-child(6)") == [str(n + 1) for n in range(K)]
    assert texts(tab, "#person option") == ["user u5", "user u80"]


def test_keys_move_a_slider(tab: Tab, address: str, recommender: Recommender) -> None:
    tab.open(address)
    usual = texts(tab, "#list tbody th")
    tab.value("document.querySelectorAll('input')[1].focus()")
    for weight in (0.75, 0.5, 0.25):
        tab.press("ArrowLeft", 37)
        assert_lists(tab, recommender, "u5", {"conformity": weight})
        assert tab.value("location.hash") == f"#list=1&conformity={weight}"
    assert [text.split()[1] for text in texts(tab, "output")] == ["1", "0.25"]
    listed = texts(tab, "#list tbody th")
    assert listed != usual
    before = [str(usual.index(one) + 1) if one in usual else "new" for one in listed]
    assert texts(tab, "#list td:nth-child(6)") == before
    kept = len(set(listed) & set(usual))
    assert texts(tab, "#status") == [
        f"{kept} of {K} items are also listed at weight 1."
    ]
    tab.value("document.querySelector('button').click()")
    assert_lists(tab, recommender, "u5", {})


@pytest.mark.parametrize(
    ("fragment", "user", "weights"),
    [
        ("conformity=0", "u5", {"conformity": 0.0}),
        ("list=2&interest=2", "u80", {"interest": 2.0}),
        ("list=2&interest=1.75&conformity=1.25", "u80", (1.75, 1.25)),
        ("interest=0&conformity=0", "u5", (0.0, 0.0)),
        ("list=9&interest=0.6&conformity=-3", "u5", (0.5, 0.0)),
        ("list=x&interest=x&conformity=99", "u5", {"conformity": 2.0}),
    ],
)
def test_the_address_says_what_is_shown(
    tab: Tab,
    address: str,
    recommender: Recommender,
    fragment: str,
    user: str,
    weights: dict[str, float] | tuple[float, float],
) -> None:
    if isinstance(weights, tuple):
        weights = dict(zip(("interest", "conformity"), weights, strict=True))
    tab.open(f"{address}#{fragment}")
    assert_lists(tab, recommender, user, weights)


def test_another_person_is_chosen_by_keys(
    tab: Tab, address: str, recommender: Recommender, page: ModelPage
) -> None:
    tab.open(f"{address}#conformity=0.5")
    tab.value("document.querySelector('select').focus()")
    tab.press("ArrowDown", 40)
    assert_lists(tab, recommender, "u80", {"conformity": 0.5})
    met = [page.items[place] for place in page.people[1].met]
    assert texts(tab, "#met li") == [f"{one.item_id} {one.popularity}" for one in met]
    assert texts(tab, "summary")[0].startswith(f"{len(met)} items")


def test_the_profile_moves_with_the_list(
    tab: Tab, address: str, page: ModelPage
) -> None:
    tab.open(f"{address}#conformity=0")
    by_id = {item.item_id: item for item in page.items}
    listed = [by_id[item_id] for item_id in texts(tab, "#list tbody th")]
    mean = sum(item.popularity or 0 for item in listed) / K
    shares = [
        f"{round(100 * sum(item.group == group for item in listed) / K)} %"
        for group in range(3)
    ]
    cells = texts(tab, "#profile tbody tr:first-child td")
    assert cells == [f"{mean:.1f}", *shares]
    assert texts(tab, "#profile tbody th") == [
        "this list",
        "the list at weight 1",
        "already met",
        "all interactions",
        "all items",
    ]
    last = texts(tab, "#profile tbody tr:last-child td")
    assert last[0] == f"{page.catalogue.popularity:.1f}"


def test_bars_have_the_terms_widths(tab: Tab, address: str) -> None:
    tab.open(address)
    bars = tab.value(
        "Array.from(document.querySelectorAll('#list .bar'), bar => Array.from("
        "bar.querySelectorAll('span:not(.zero)'), s => parseFloat(s.style.width)))"
    )
    interest, conformity = (
        [abs(float(text.split()[1])) for text in texts(tab, f"#list .terms > {place}")]
        for place in ("span:nth-child(1)", "span:nth-child(2)")
    )
    widths = [width for bar in bars for width in bar]
    terms = [term for pair in zip(interest, conformity, strict=True) for term in pair]
    scale = sum(widths) / sum(terms)
    assert widths == pytest.approx([scale * term for term in terms], abs=0.1)


def test_what_a_screen_reader_finds(tab: Tab, address: str) -> None:
    tab.resize(360)
    tab.open(address)
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    named: dict[str, list[str]] = {}
    for node in nodes:
        if not node["ignored"]:
            name = node.get("name", {}).get("value", "")
            named.setdefault(node["role"]["value"], []).append(name)
    assert named["slider"] == ["interest", "conformity"]
    assert named["combobox"] == ["List for"]
    assert named["table"] == ["Recommendations", "How popular"]
    # At phone width too, where rows are no longer laid out as a table.
    assert len(named["row"]) == (1 + K) + (1 + 5)
    assert named["columnheader"][:3] == ["place", "item", "score by cause"]


@pytest.mark.parametrize("width", [320, 360, 700, 1200])
def test_nothing_is_wider_than_the_screen(tab: Tab, address: str, width: int) -> None:
    tab.resize(width)
    tab.open(address)
    assert tab.value("document.documentElement.scrollWidth") <= width


def test_light_and_dark(tab: Tab, address: str) -> None:
    colours = []
    for scheme in ("light", "dark"):
        tab.prefer(scheme)
        tab.open(address)
        colours.append(tab.value("getComputedStyle(document.body).backgroundColor"))
    assert colours == ["rgb(255, 255, 255)", "rgb(20, 24, 29)"]


def test_markup_in_data_is_text(tab: Tab, tmp_path: Path, page: ModelPage) -> None:
    write_page(marked_up(page), tmp_path / "page.html")
    tab.open((tmp_path / "page.html").as_uri())
    assert texts(tab, "b") == []
    assert texts(tab, "#list tbody th bdi") == [NASTY] * (2 * K)
    assert texts(tab, "h1") == [f"{NASTY}, version 1"]
    assert texts(tab, "#person option") == [f"user {NASTY}"] * 2
