"""The report says what the rows say, escapes what it is given, needs nothing else, and is written whole."""

import errno
import io
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tomllib
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from study_rows import COLUMNS, DIGITS, make_rows, make_study
from test_study_figures import make_tuning

import skantidistill
from skantidistill import AntiDistilledMLPClassifier
from skantidistill.__main__ import main
from skantidistill.study import TABLES, StudyError, as_text, student_parameters, write_report
from skantidistill.study.report.page import NO_FIGURES, as_html
from skantidistill.study.report.styles import COLORS
from skantidistill.study.report.words import verdict

CRITERIA = [*COLUMNS, "old_classes"]
VOID = {"meta", "br"}
TAGS = {
    "html", "head", "meta", "title", "style", "body", "main", "p", "h1", "h2", "h3", "ul", "li",
    "strong", "span", "i", "small", "div", "table", "caption", "thead", "tbody", "tr", "th", "td",
    "pre", "code", "figure", "figcaption", "svg", "g", "path", "defs", "use", "text", "clippath", "rect",
}  # fmt: skip
NASTY = """<script>alert("1")</script> & 'it' <img src=x>"""


class Page(HTMLParser):
    """A page as elements, in which every tag is closed where it was opened."""

    def __init__(self, source):
        super().__init__()
        self.open, self.elements, self.ids, self.references = [], [], [], []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        element = {"tag": tag, "text": "", "in": [e["tag"] for e in self.open], **dict(attributes)}
        self.elements.append(element)
        self.ids += [value for name, value in attributes if name == "id"]
        for name, value in attributes:
            if name == "href":
                self.references.append(value)
            self.references += re.findall(r"url\((.*?)\)", value or "")
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, tag, **attributes):
        return [
            e for e in self.elements if e["tag"] == tag and all(e.get(k) == v for k, v in attributes.items())
        ]

    def tables(self):
        """Caption -> lines, each of its name and cells, and those cells that are marked as the best."""
        found, lines = {}, []
        for element in self.elements:
            if element["tag"] == "caption":
                lines = found.setdefault(element["text"].split("  ")[0], [])
            elif element["tag"] == "tr":
                lines.append([])
            elif element["tag"] in ("th", "td") and lines:
                lines[-1].append(element)
        return {caption: [line for line in lines if line] for caption, lines in found.items()}


def cells_of(page, start):
    """Name of a line -> its cells, in the table whose caption begins so."""
    (lines,) = [lines for caption, lines in page.tables().items() if caption.startswith(start)]
    return {line[0]["text"]: line[1:] for line in lines}


@pytest.fixture(scope="module")
def study():
    return make_study()


@pytest.fixture(scope="module")
def written(study, tmp_path_factory):
    """A report with everything in it: two studies, and a tuning."""
    studies = [make_study(rows=n) for n in (100, 300)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skantidistill.study.report.page.as_png", lambda picture: b"png")
        return write_report(tmp_path_factory.mktemp("report"), studies, make_tuning())


@pytest.fixture(scope="module")
def page(written):
    return Page(written.page.read_text("utf-8"))


def numbers(text):
    return [float(number) for number in re.findall(r"[-+]?\d*\.\d+", text)]


def values_of(rows, method, column):
    return [row[column] for row in rows if row["method"] == method]


@pytest.mark.parametrize("title", TABLES)
def test_cells_are_mean_and_deviation_of_the_rows(study, title):
    cells = cells_of(Page(as_html([study])), f"{title.capitalize()}: accuracies")
    for method in TABLES[title][0].rows:
        assert len(cells[method]) == len(CRITERIA)
        for cell, column in zip(cells[method], CRITERIA, strict=True):
            values = values_of(study.rows, method, column)
            expected = statistics.mean(values), statistics.stdev(values)
            assert numbers(cell["text"]) == pytest.approx(expected, abs=5.01e-4)


@pytest.mark.parametrize("title", TABLES)
def test_the_best_of_a_column_is_marked_by_more_than_a_colour(study, title):
    source = as_html([study])
    part = source[source.index(f"<caption>{title.capitalize()}: accuracies") :]
    lines = re.findall(r'<tr[^>]*><th scope="row">([^<]*)</th>(.*)</tr>', part[: part.index("</table>")])
    methods = TABLES[title][0].rows
    marked = {name: ["<strong>" in cell for cell in cells.split("</td>")[:-1]] for name, cells in lines}
    for k, column in enumerate(CRITERIA):
        means = {method: np.mean(values_of(study.rows, method, column)) for method in methods}
        assert [method for method in methods if marked[method][k]] == [max(means, key=means.get)]


@pytest.mark.parametrize("title", TABLES)
def test_differences_and_verdicts_are_those_of_the_paired_t_test(study, title):
    cells = cells_of(Page(as_html([study])), f"{title.capitalize()}: accuracies")
    for k, column in enumerate(CRITERIA):
        short = cells["best other"][k]["text"]
        other = short + " + kept terms" * (title == "equal training")
        rivals = [row for row in TABLES[title][0].rows if not row.startswith("AD")]
        assert other == max(rivals, key=lambda m: np.mean(values_of(study.rows, m, column)))
        pair = values_of(study.rows, "AD", column), values_of(study.rows, other, column)
        low, high = stats.ttest_rel(*pair).confidence_interval(0.95)
        found = numbers(cells["AD - best other"][k]["text"])
        assert found == pytest.approx([(low + high) / 2, (high - low) / 2], abs=5.01e-4)
        verdict = cells["verdict"][k]
        assert verdict["text"] == verdict["class"] == ("wins" if low > 0 else "loses" if high < 0 else "ties")


def test_page_and_text_have_the_same_numbers():
    for study in (make_study(), make_study(rows=100), make_study(make_rows(n_seeds=1))):
        source = as_html([study])
        text = as_text(*study)
        tokens = r"[-+]?\d*\.\d+ ±\d*\.\d+"
        in_tables = re.sub("<[^>]*>", " ", source[source.index("<table>") : source.index("To do it again")])
        one, other = (re.findall(tokens, re.sub(r"\s+", " ", words)) for words in (in_tables, text))
        assert one == other
        assert len(one) > 50 or "one seed only" in text
        costs = cells_of(Page(source), "As published: costs")
        for line in text[text.index("steps, phi + D2") :].splitlines()[2:5]:
            name, *cells = re.split("  +", line)
            assert [cell["text"] for cell in costs[name]] == cells


def test_headings_of_tables_have_a_scope(page):
    assert {e["scope"] for e in page.all("th")} == {"row", "col"}
    for lines in page.tables().values():
        assert all(line[0]["tag"] == "th" for line in lines)
        assert len({len(line) for line in lines}) == 1
    assert len(page.all("caption")) == len(page.all("table")) == 2 * (4 + 2) + 2


def test_the_page_is_well_formed_and_all_it_refers_to_is_in_it(page, written):
    source = written.page.read_text("utf-8")
    assert {e["tag"] for e in page.elements} == TAGS
    assert len(set(page.ids)) == len(page.ids) > 100
    assert len(page.references) > 100
    assert {reference.strip("'\"")[:1] for reference in page.references} == {"#"}
    assert {reference.strip("'\"#") for reference in page.references} <= set(page.ids)
    assert not re.search(r"https?:|//|@import|\bsrc=|\bon\w+=", source.replace("http-equiv", ""))
    assert "default-src 'none'" in page.all("meta")[-1]["content"]
    assert len(source) < 1_500_000


def test_every_role_has_a_colour_in_both_schemes(written):
    source = written.page.read_text("utf-8")
    (light, dark) = re.findall(r":root \{ (--.*?) \}", source)
    for n, scheme in enumerate((light, dark)):
        assert (
            dict(re.findall(r"--([a-z0-9-]+): (#\w+);", scheme)).items()
            >= {role: both[n] for role, both in COLORS.items()}.items()
        )
    used = set(re.findall(r"var\(--([a-z0-9-]+)\)", source))
    assert used <= {*COLORS, "tint"}
    assert {"ad", "xavier", "noise"} <= used


def test_everything_given_is_escaped():
    study = make_study(
        command=f"python -m skantidistill study --data '{NASTY}.csv'",
        title=NASTY,
        data=f"{NASTY}.csv",
        target=f"target {NASTY}",
        digest="ab" * 32,
        teacher_classes=(f"class {NASTY}", "b"),
        teacher_features=(f"feature {NASTY}", "two"),
    )
    tuning = make_tuning()
    tuning.trials[2].parameters["callback"] = NASTY
    tuning.command = tuning.title = NASTY
    tuning.versions[NASTY] = NASTY
    source = as_html([study, study], tuning)
    page = Page(source)
    assert {e["tag"] for e in page.elements} <= TAGS
    assert "<script" not in source
    text = page.all("body")[0]["text"]
    for said in (study.command, f"target {NASTY}", f"class {NASTY}", f"feature {NASTY}"):
        assert said in text
    assert page.all("title")[0]["text"].startswith(NASTY)
    assert text.count(NASTY) > 12


# Of AD minus the others, by three seeds: 0.1 with a narrow interval, 0.01 with a wide one, and -0.1.
KNOWN = {
    "accuracy": {"AD": [0.80, 0.81, 0.82], "Zero": [0.90, 0.911, 0.919], "Xavier": [0.1] * 3},
    "fgsm": {"AD": [0.60, 0.61, 0.62], "Zero": [0.1] * 3, "Xavier": [0.50, 0.511, 0.519]},
    "pgd": {"AD": [0.60, 0.50, 0.40], "Zero": [0.1] * 3, "Xavier": [0.40, 0.50, 0.57]},
}
SAME = {column: {m: [0.5] * 3 for m in ("AD", "Zero")} for column in CRITERIA}


def said(rows, protocol=DIGITS):
    return " ".join(verdict(rows, protocol))


def test_the_first_paragraph_says_what_is_won_and_what_is_not(study):
    rows = make_rows(methods=["Xavier", "Zero", "AD"], n_test_old=100, **SAME | KNOWN)
    text = said(rows)
    half = stats.t.ppf(0.975, 2) / np.sqrt(3) * np.std([0.1, 0.099, 0.101], ddof=1)
    assert f"AD wins in FGSM (+.100 ±{half:.3f} over Xavier)".replace("0.0", ".0") in text
    assert "; ties in PGD (+.010 ±.4" in text
    assert re.search(r"; loses in accuracy \(-\.100 ±\.00\d to Zero\)", text)
    assert "where all rows have AD's terms, nothing is compared" in text  # it would be AD alone
    assert "over 3 seeds" in text
    first = next(e for e in Page(as_html([study._replace(rows=rows)])).all("p", **{"class": "lead"}))
    assert first["text"].replace("\N{NO-BREAK SPACE}", " ") == text


def test_what_is_won_nowhere_is_said_plainly():
    rows = make_rows(methods=["Zero", "AD", "Zero + kept terms"], **SAME)
    for row in rows:
        if row["method"] == "Zero + kept terms":
            row |= dict.fromkeys(CRITERIA, 0.9 + row["seed"] / 1000)
    text = said(rows)
    assert "As published, AD wins in nothing; ties in accuracy (+.000 ±.000 against Zero), FGSM" in text
    assert "With equal training, where all rows have AD's terms, AD wins in nothing; ties in nothing" in text
    assert "; loses in accuracy (-.401" in text


def test_one_seed_wins_nothing():
    ahead = {"AD": [0.9], "Zero": [0.7]}
    text = said(
        make_rows(methods=["Zero", "AD"], n_seeds=1, accuracy=ahead, fgsm={"AD": [0.5], "Zero": [0.6]})
    )
    assert "one seed can't tell" in text
    assert "ahead in accuracy (+.200 over Zero)" in text
    assert "behind in " in text
    assert "FGSM (-.100 to Zero)" in text
    assert "±" not in text
    assert not re.search(r"\b(wins|ties|loses) in\b", text)


@pytest.mark.parametrize("methods", [["Zero", "Uniform + kept terms"], ["AD", "AD l4=0"], ["AD"]])
def test_without_ad_or_a_rival_nothing_is_claimed(methods):
    text = said(make_rows(methods=methods))
    assert text.count("nothing is compared") == 2
    assert not re.search(r"wins|ties|loses|\d", text)
    lines = cells_of(Page(as_html([make_study(make_rows(methods=methods))])), "As published: accuracies")
    assert not {"verdict", "best other"} & set(lines)
    assert set(lines) >= {methods[0]}


def test_every_claim_has_its_number():
    for protocol_rows in (None, 100):
        study = make_study(rows=protocol_rows)
        sentences = verdict(study.rows, study.protocol)[:-1]
        assert len(sentences) == (3 if protocol_rows else 2)
        for sentence in sentences:
            assert len(re.findall(r"\([-+]\d*\.\d+ ±\d*\.\d+ (?:over|against|to) \w+", sentence)) == 6


def test_the_foot_says_how_to_do_it_again(study):
    page = Page(as_html([study._replace(command="python -m skantidistill study --data digits")]))
    command, call = (e["text"] for e in page.all("pre"))
    assert command == "python -m skantidistill study --data digits"
    made = eval(call, {"AntiDistilledMLPClassifier": AntiDistilledMLPClassifier, "teacher": "the teacher"})
    wanted = student_parameters(DIGITS, "AD", 600, 1198) | {"teacher": "the teacher", "random_state": 0}
    assert made.get_params(deep=False) == AntiDistilledMLPClassifier(**wanted).get_params(deep=False)
    assert cells_of(page, "Settings")["seeds"][0]["text"] == "0, 1, 2"
    assert cells_of(page, "Versions")["skantidistill"][0]["text"] == skantidistill.__version__


def test_several_studies_and_a_tuning_are_sections_of_one_report(written, page):
    headings = [e["text"] for e in page.all("h2")]
    assert headings == [
        "Digits, few rows (100)",
        "Digits, few rows (300)",
        "How AD's setting was tuned: Digits: <tuning>",
    ]
    assert page.all("h1")[0]["text"] == "Digits, few rows (100) and few rows (300)"
    assert len(page.all("p", **{"class": "lead"})) == 2
    files = {path.name for path in written.figures}
    assert len(files) == 1 + 2 * 5 + 1
    assert files == {path.name for path in written.figures[0].parent.iterdir()}
    assert {f"{e['id']}.png" for e in page.all("figure")} == files
    trials = cells_of(page, "Trials")
    assert [*trials][1:] == ["0 (defaults)", "2 (chosen)", "3"]
    assert [cell["text"] for cell in trials["2 (chosen)"]] == [".920", ".700", ".600", "0.02"]


def test_a_tuning_alone_is_a_report_too(tmp_path):
    report = write_report(tmp_path, [], make_tuning())
    assert [path.name for path in report.figures] == ["pareto-front.png"]
    assert Page(report.page.read_text("utf-8")).all("h1")[0]["text"] == "Digits: <tuning>"


def small():
    return make_study(make_rows(methods=["Zero", "AD"]))


@pytest.fixture
def undrawn(monkeypatch):
    """No time is spent on drawing."""
    monkeypatch.setattr("skantidistill.study.report.page.as_png", lambda picture: b"png")
    monkeypatch.setattr("skantidistill.study.report.elements.as_svg", lambda panel, key: "<svg></svg>")


def test_a_report_that_cannot_be_written_leaves_the_old_one_whole(tmp_path, monkeypatch, undrawn):
    write_report(tmp_path, [small()])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert len(before) == 6

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for fails_at in range(2):
        with monkeypatch.context() as patch:
            fsync = os.fsync
            calls = iter([fsync] * 5 * fails_at + [full])
            patch.setattr("os.fsync", lambda handle, calls=calls: next(calls)(handle))
            with pytest.raises(StudyError, match=re.escape(f"{tmp_path} can't be used (No space left on")):
                write_report(tmp_path, [small()._replace(command="another")])
        assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
    write_report(tmp_path, [small()._replace(command="another")])
    assert (tmp_path / "report.html").read_bytes() != before[tmp_path / "report.html"]


def test_figures_of_an_earlier_report_go_and_what_is_not_ours_stays(tmp_path, undrawn):
    first = write_report(tmp_path, [make_study(rows=n) for n in (100, 300)])
    (tmp_path / "figures" / "mine.png").touch()
    second = write_report(tmp_path, [small()])
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "mine.png", *(path.name for path in second.figures)}  # fmt: skip
    assert len(first.figures) > len(second.figures)


def test_without_matplotlib_there_is_a_report_without_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    report = write_report(tmp_path, [small()])
    assert report.figures == ()
    page = Page(report.page.read_text("utf-8"))
    assert not page.all("svg")
    assert len(page.all("table")) == 4
    assert NO_FIGURES in page.all("main")[0]["text"]
    quick = ["--seeds", "1", "--hidden", "8", "--methods", "Zero"]
    assert main([*quick, "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines()[-4:-2] == [
        f"The report: {tmp_path / 'out' / 'report.html'}", NO_FIGURES]  # fmt: skip


def test_the_command_writes_the_report_and_says_where(tmp_path, capsys, request):
    quick = ["--seeds", "2", "--hidden", "8", "--methods", "Xavier,AD", "--out", str(tmp_path)]
    assert main(quick) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-3:] == [
        f"The report: {tmp_path / 'report.html'}",
        f"The rows of these tables: {tmp_path / 'table.csv'}",
        f"To resume or extend: {tmp_path / 'study.sqlite'}",
    ]
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    (command,) = re.findall("^python -m skantidistill .*$", out, re.M)
    assert page.all("pre")[0]["text"] == command
    for cell in cells_of(page, "As published: accuracies")["AD"]:
        assert re.search(rf"^AD  .*{re.escape(cell['text'])}", out, re.M)
    assert len(list((tmp_path / "figures").iterdir())) == 5
    request.getfixturevalue("undrawn")
    shutil.rmtree(tmp_path / "figures")
    (tmp_path / "figures").write_text("a file is in the way")
    assert main(quick) == 2
    assert re.fullmatch("skantidistill: error: .* can't be used .*\n", capsys.readouterr().err)


def test_ctrl_c_while_the_report_is_drawn_gets_one_line(tmp_path, monkeypatch, capsys):
    def pressed(picture):
        raise KeyboardInterrupt

    monkeypatch.setattr("skantidistill.study.report.page.as_png", pressed)
    assert main(["--seeds", "1", "--hidden", "8", "--methods", "Zero", "--out", str(tmp_path)]) == 130
    assert re.fullmatch("skantidistill: interrupted; 1 finished runs are kept .*\n", capsys.readouterr().err)
    assert not (tmp_path / "report.html").exists()


def test_a_command_with_negative_labels_can_be_run_again(tmp_path, capsys):
    rng = np.random.RandomState(0)
    y = np.repeat([-2, -1, 1], 100)
    np.savez(tmp_path / "data.npz", X=rng.randn(300, 3) + y[:, None], y=y)
    quick = ["--seeds", "1", "--hidden", "8", "--methods", "Zero"]
    assert main(["--data", str(tmp_path / "data.npz"), "--teacher-classes=-1,1", *quick]) == 0
    (command,) = re.findall("^python -m skantidistill (.*)$", capsys.readouterr().out, re.M)
    assert main(shlex.split(command)) == 0
    assert "knows the classes -1, 1 (D1)" in capsys.readouterr().out


def test_ctrl_c_while_data_are_read_gets_one_line(monkeypatch, capsys):
    def pressed(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("skantidistill.commands.arguments.make_protocol", pressed)
    assert main(["tune", "--trials", "1"]) == 130
    assert re.fullmatch("skantidistill: interrupted; .*\n", capsys.readouterr().err)


def test_a_file_whose_name_is_no_text_has_a_report_and_a_terminal_without_unicode_has_tables(
    tmp_path, monkeypatch, undrawn
):
    report = write_report(tmp_path, [small()._replace(command="study --data b\udcff.csv")])
    assert "study --data b\\udcff.csv" in report.page.read_text("utf-8")
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    assert main(["--seeds", "2", "--hidden", "8", "--methods", "Zero"]) == 0
    assert b" \\xb1." in stdout.buffer.getvalue()


def test_what_is_not_python_is_shipped():
    root = Path(skantidistill.__file__).parent
    settings = tomllib.loads((root.parent / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    shipped = {
        path
        for package, patterns in settings["package-data"].items()
        for pattern in patterns
        for path in root.parent.joinpath(*package.split(".")).glob(pattern)
    }
    others = {p for p in root.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    assert {path.name for path in others} == {"page.css", "fashion_mnist.json", "py.typed"}
    assert shipped == others


PROBE = """<body><iframe id=a width=375 height=800 srcdoc="{0}"></iframe>
<iframe id=b width=1280 height=800 srcdoc="{0}"></iframe><script>
onload = () => document.body.innerHTML = ["a", "b"].map(id => {{
  const d = document.getElementById(id).contentDocument, e = d.documentElement;
  const t = d.querySelector(".scroll"), s = d.querySelector("figure svg").getBoundingClientRect();
  const back = getComputedStyle(d.body).backgroundColor;
  const ink = getComputedStyle(d.querySelector("svg text")).fill;
  return [e.clientWidth, e.scrollWidth, t.clientWidth, t.scrollWidth, s.right, back, ink].join(";");
}}).join("|");
</script></body>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no Chromium")
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_the_page_fits_a_telephone_and_a_wide_screen_in_both_schemes(written, tmp_path, scheme):
    source = written.page.read_text("utf-8").replace("Digits", "a_name_without_an_end" * 20)
    (tmp_path / "probe.html").write_text(PROBE.format(escape(source)), "utf-8")
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         f"--blink-settings=preferredColorScheme={int(scheme == 'light')}", "--dump-dom",
         (tmp_path / "probe.html").as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    found = re.search(r"<body>(\d.*?)</body>", done.stdout)[1].split("|")
    for width, line in zip((375, 1280), found, strict=True):
        client, scroll, table, inside, right, back, ink = line.split(";")
        assert width - 20 <= int(client) <= width
        assert int(scroll) <= int(client)
        assert float(right) <= int(client)
        assert (int(inside) > int(table)) == (width == 375)  # the table scrolls in its container
        dark = [max(map(int, re.findall(r"\d+", color)[:3])) < 128 for color in (back, ink)]
        assert dark == ([True, False] if scheme == "dark" else [False, True])
