"""2,000 damaged files: no traceback, no hang beyond 20 s, no changed weights accepted."""

import json

from fuzz import count, fuzz_guides, fuzz_states, fuzz_tables, seed_of_the_day
from test_fuzz import table

NUMBER = 2000
"""Of which 1,000 are guides, 200 states, and 400 tables of each kind."""


def test_two_thousand_damaged_files(line_guide, line_task, line_data, tmp_path, capfd):
    seed, number = seed_of_the_day(), count(NUMBER)
    guide = line_guide.save(tmp_path / "saved" / "guide")
    state = line_guide.step(line_guide.init(), line_data).save(tmp_path / "saved" / "state")
    table().to_csv(tmp_path / "saved" / "rows.csv", index=False)
    table().to_parquet(tmp_path / "saved" / "rows.parquet")
    counts = {
        "guides": fuzz_guides(guide, line_task, tmp_path, number // 2, seed),
        "states": fuzz_states(line_guide, state, tmp_path, number // 10, seed),
        "csv": fuzz_tables(tmp_path / "saved" / "rows.csv", tmp_path, number // 5, seed),
        "parquet": fuzz_tables(tmp_path / "saved" / "rows.parquet", tmp_path, number // 5, seed),
    }
    with capfd.disabled():
        print(f"\nfuzz, seed {seed}: {json.dumps(counts)}")
