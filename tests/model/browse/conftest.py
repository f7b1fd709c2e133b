"""What the tests of the page share; not to be changed."""

from collections.abc import Iterator

import pytest

from hpa_data.reader.reader import Reader
from hpa_model.browse.catalog import Catalog
from tests.model.browse.pages import Browser, Pages, make_pages, open_pages


@pytest.fixture(scope="package")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """A store of 60 labeled samples, 3 unlabeled ones and 3 copies, a run and features."""
    return make_pages(tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="package")
def opened(pages: Pages) -> Iterator[tuple[Catalog, Reader]]:
    catalog, reader = open_pages(pages)
    with reader:
        yield catalog, reader


@pytest.fixture(scope="package")
def catalog(opened: tuple[Catalog, Reader]) -> Catalog:
    return opened[0]


@pytest.fixture(scope="package")
def reader(opened: tuple[Catalog, Reader]) -> Reader:
    return opened[1]


@pytest.fixture(scope="package")
def browser(catalog: Catalog, reader: Reader) -> Browser:
    return Browser(catalog, reader)
