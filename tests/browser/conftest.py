"""A real browser, and real viewers of the bundled capture. A module that wants another run says so by ``shown_run``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from splatseg_ns.plugin.runs import Run
from splatseg_ns.segmentation import Segmentation
from tests.browser.chromium import installed_chromium, started_chromium
from tests.browser.demo_runs import HERE, demo_document, viewer_of, write_demo_run
from tests.browser.panel import Panel
from tests.browser.viewer_page import ViewerPage, opened_page
from tests.plugin.viewer_process import ViewerProcess, started_viewer

OpenPage = Callable[[], ViewerPage]


def pytest_runtest_setup() -> None:
    """From here, not from a fixture, so that pytest says it once for all tests."""
    if installed_chromium() is None:
        pytest.skip("no test looks at the viewer: there is no Chromium (on Debian: apt-get install chromium)")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Started once; pages are apart from each other all the same."""
    with started_chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def document() -> Segmentation:
    """The objects of the bundled masks."""
    return demo_document()


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The bundled scene, which nobody has segmented."""
    return write_demo_run(tmp_path_factory.mktemp("plain") / "run")


@pytest.fixture(scope="module")
def labelled_run(document: Segmentation, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The bundled scene with its objects."""
    return write_demo_run(tmp_path_factory.mktemp("labelled") / "run", document)


@pytest.fixture(scope="module")
def shown_run(plain_run: Run) -> Run:
    """What the viewer is started on."""
    return plain_run


@pytest.fixture(scope="module")
def viewer(shown_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ViewerProcess]:
    """ns-viewer, started once for all tests of a module: what one leaves behind, the next one finds."""
    with started_viewer(*viewer_of(shown_run), folder=tmp_path_factory.mktemp("viewer")) as viewer:
        yield viewer


@pytest.fixture
def open_page(browser: Browser, viewer: ViewerProcess) -> Iterator[OpenPage]:
    """Opens one page after another, each as another user's, and waits for its picture."""
    with ExitStack() as pages:

        def opened() -> ViewerPage:
            page = pages.enter_context(opened_page(browser, viewer.address))
            page.show_scene()
            return page

        yield opened


@pytest.fixture
def page(open_page: OpenPage) -> ViewerPage:
    """One page, with a picture."""
    return open_page()


@pytest.fixture(scope="module")
def panel(browser: Browser, viewer: ViewerProcess) -> Iterator[Panel]:
    """The panel of one page for all tests of a module."""
    with opened_page(browser, viewer.address) as page:
        page.show_scene()
        page.look_from(HERE)
        panel = Panel(page)
        panel.wait_until_open()
        yield panel


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    """What the viewer and the page have said, and what was to be seen, with a test that fails."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            report.sections += _sections(item, value)
    return report


def _sections(item: pytest.Item, value: object) -> list[tuple[str, str]]:
    if isinstance(value, ViewerProcess):
        return [("viewer", value.log.read_text(errors="replace")[-4000:])]
    if isinstance(value, Panel):
        value = value.page
    if isinstance(value, ViewerPage) and not value.page.is_closed():
        file = Path(str(item.config.rootpath)) / "build" / "browser" / f"{item.name}.png"
        said = "\n".join([*value.crashes, *value.console[-20:]])
        return [("page", f"{said}\nscreenshot: {value.screenshot(file)}")]
    return []
