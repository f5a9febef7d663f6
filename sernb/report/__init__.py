"""Runs become a book."""

from sernb.report.build import build_report
from sernb.report.check import check_book
from sernb.report.contents import Book
from sernb.report.contents import Chapter
from sernb.report.contents import ReportError
from sernb.report.contents import read_book
from sernb.report.pages import link_terms
from sernb.report.pages import make_page
from sernb.report.reference import package_sources
from sernb.report.reference import reference_page
