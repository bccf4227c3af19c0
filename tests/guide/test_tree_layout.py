"""Variables and axes of the tree that answers come in."""

import numpy as np

from amortppl.guide.tree_layout import assemble


def test_the_index_of_groups_stands_beside_values_of_groups():
    """An axis has the argument's name where a value of each group lies along it."""
    constant = {
        "county": (["house"], np.array([0, 0, 1])),
        "uranium": (["county"], np.array([0.2, -1.0])),
    }
    tree = assemble(
        {"constant_data": constant},
        {"county": ["Aitkin", "Anoka"]},
        dict.fromkeys(("inference_library", "inference_library_version", "created_at"), ""),
    )
    data = tree["constant_data"].dataset
    assert data["county"].values.tolist() == ["Aitkin", "Anoka"]
    assert data["county_index"].values.tolist() == [0, 0, 1]
    alone = assemble({"constant_data": {"county": constant["county"]}}, {}, dict(tree.attrs))
    assert alone["constant_data"]["county"].dims == ("house",)
