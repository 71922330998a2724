from tidemill_core.places import described


def test_places_are_said_as_people_say_them() -> None:
    assert described([]) == ""
    assert described([("page", 7, 7, "")]) == "page 7"
    assert described([("page", 7, 7, "v")]) == "page 7 (v)"
    assert described([("page", 7, 9, "")]) == "pages 7-9"
    assert described([("sheet", 2, 2, "Prices"), ("row", 17, 31, "")]) == "sheet Prices, rows 17-31"
    assert described([("slide", 3, 3, "Quarter")]) == "slide 3"
