"""The whole-slide XML of BACH."""

from __future__ import annotations

from pathlib import Path

import pytest
import shapely

from slideloop.errors import TruthError
from slideloop.evaluation.truth import annotated_area, read_truth
from slideloop.evaluation.truth_xml import canonical

SIZE = (400, 300)
SQUARE = ((10, 10), (30, 10), (30, 30), (10, 30), (10, 10))
OTHER_SQUARE = ((100, 10), (120, 10), (120, 30), (100, 30), (100, 10))
INNER_SQUARE = ((15, 15), (25, 15), (25, 25), (15, 25), (15, 15))


def region(text, points=SQUARE, value=None, negative="0"):
    attribute = "" if value is None else f'<Attribute Name="x" Id="0" Value="{value}"/>'
    vertices = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
    return (
        f'<Region Id="1" Type="0" Zoom="0.1" Length="1" Area="1" LengthMicrons="1" '
        f'AreaMicrons="1" Text="{text}" NegativeROA="{negative}">'
        f"<Attributes>{attribute}</Attributes><Vertices>{vertices}</Vertices></Region>"
    )


@pytest.fixture
def write(tmp_path: Path):
    def write_regions(*regions, head=""):
        path = tmp_path / "A01.xml"
        path.write_text(
            f'{head}<Annotations MicronsPerPixel="0.466667"><Annotation Id="1"><Attributes/>'
            f"<Regions><RegionAttributeHeaders/>{''.join(regions)}</Regions><Plots/>"
            f"</Annotation></Annotations>"
        )
        return path

    return write_regions


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("Benign", "Benign"),
        ("Carcinoma in situ", "In situ"),
        ("In situ carcinoma", "In situ"),
        ("Carcinoma invasive", "Invasive"),
        ("INVASIVE CARCINOMA", "Invasive"),
        ("normal", "Normal"),
        ("tumour", "Tumor"),
    ],
)
def test_both_spellings_of_a_class_are_one(spelling, name):
    assert canonical(spelling) == name


def test_regions_are_read_with_their_classes_and_normal_outside(write):
    path = write(region("Benign"), region("Carcinoma invasive", OTHER_SQUARE))
    truth = read_truth(path, "Invasive", *SIZE)
    assert truth.classes == ("Benign", "Invasive")
    assert truth.regions["Invasive"].equals(shapely.box(100, 10, 120, 30))
    assert truth.outside == "Normal"


def test_the_positive_class_may_be_given_in_any_spelling(write):
    truth = read_truth(write(region("Carcinoma in situ")), "In situ carcinoma", *SIZE)
    assert truth.classes == ("In situ",)


@pytest.mark.parametrize("positive", ["Tumor", "tumor"])
def test_tumor_means_the_three_classes_together(write, positive):
    path = write(region("Benign"), region("Invasive carcinoma", OTHER_SQUARE))
    truth = read_truth(path, positive, *SIZE)
    assert truth.classes == ("Tumor",)
    assert annotated_area(truth, "Tumor") == 800


def test_normal_regions_are_part_of_the_outside(write):
    truth = read_truth(write(region("Benign"), region("Normal", OTHER_SQUARE)), "Benign", *SIZE)
    assert truth.classes == ("Benign",)


def test_the_attribute_goes_before_the_text(write):
    truth = read_truth(write(region("", value="Benign")), "Benign", *SIZE)
    assert truth.classes == ("Benign",)


def test_a_negative_region_is_cut_out(write):
    path = write(region("Benign"), region("", INNER_SQUARE, negative="1"))
    assert annotated_area(read_truth(path, "Benign", *SIZE), "Benign") == 400 - 100


def test_a_class_that_is_none_of_bach_is_refused_with_its_region(write):
    with pytest.raises(TruthError, match=r"Region 2 .*'Artefact'"):
        read_truth(write(region("Benign"), region("Artefact")), "Benign", *SIZE)


def test_a_missing_positive_class_lists_the_ones_there_are(write):
    with pytest.raises(TruthError, match=r"'Invasive'.*'Benign'"):
        read_truth(write(region("Benign")), "Invasive", *SIZE)


def test_a_stroke_that_crosses_itself_by_a_slip_is_mended_and_counted(write):
    slip = ((10, 10), (110, 10), (110, 110), (10, 110), (10, 9), (11, 11), (10, 10))
    truth = read_truth(write(region("Benign", slip)), "Benign", *SIZE)
    assert truth.n_repaired == 1
    assert annotated_area(truth, "Benign") == pytest.approx(10_000, rel=0.01)


@pytest.mark.parametrize(("text", "negative"), [("Benign", "0"), ("", "1")])
def test_a_bow_tie_is_refused(write, text, negative):
    bow_tie = ((10, 10), (30, 30), (30, 10), (10, 30), (10, 10))
    with pytest.raises(TruthError, match=r"Region 2 .*Self-intersection"):
        read_truth(write(region("Benign"), region(text, bow_tie, None, negative)), "Benign", *SIZE)


@pytest.mark.parametrize("points", [(), ((1, 1), (2, 2), (1, 1))])
def test_a_region_of_less_than_three_vertices_is_refused(write, points):
    with pytest.raises(TruthError, match=r"Region 1 .*different vertices"):
        read_truth(write(region("Benign", points)), "Benign", *SIZE)


@pytest.mark.parametrize("value", ["", "abc", "nan", "inf"])
def test_a_vertex_without_a_finite_number_is_refused(write, value):
    with pytest.raises(TruthError, match="Region 1"):
        read_truth(write(region("Benign", (*SQUARE[:2], (value, 3)))), "Benign", *SIZE)


def test_a_truth_of_another_slides_size_names_both_sizes(write):
    far = ((1000, 10), (1020, 10), (1020, 30), (1000, 10))
    with pytest.raises(TruthError, match=r"1020.*400 x 300"):
        read_truth(write(region("Benign", far)), "Benign", *SIZE)


def test_entity_expansion_is_refused(write):
    head = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
    with pytest.raises(TruthError, match="entities"):
        read_truth(write(region("&b;"), head=head), "Benign", *SIZE)


@pytest.mark.parametrize("text", ["", "<Annotations>", "<html/>", "\x00\xff"])
def test_what_is_no_such_xml_is_one_sentence(tmp_path: Path, text):
    path = tmp_path / "A01.xml"
    path.write_text(text)
    with pytest.raises(TruthError, match=r"A01\.xml"):
        read_truth(path, "Benign", *SIZE)
