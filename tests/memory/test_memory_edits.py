"""What memory keeps of edits: the lines that are new in a file, and those of a difference of files."""

import pytest
from local_blocks import many_steps, shown
from memory_sessions import Session

DIFFERENCE = """diff --git a/shop/report.py b/shop/report.py
index 8e8d319..6a1221b 100644
--- a/shop/report.py
+++ b/shop/report.py
@@ -40,7 +40,8 @@ class Report:
     def export(self, count):
         rows = self.rows
-        return rows[: count - 1]
+        # the last row belongs to the report
+        return rows[:count]

     def total(self):
         return sum(self.rows)
"""


@pytest.mark.parametrize("max_tokens", [256, 512])
def test_the_lines_of_a_difference_at_the_end_are_shown(max_tokens: int) -> None:
    s = Session()
    aim = s.asks("ann", "coder", "assist", {"text": "The export drops the last row. Please repair it."})
    many_steps(s)
    s.calls("coder", "shell", "submit", {}, {"output": DIFFERENCE})
    s.answers(aim, {"text": DIFFERENCE})
    text = shown(s, max_tokens)
    assert "End: coder answered ann: «shop/report.py # the last row belongs to the report return rows[:count]»" in text
    for never in ("index 8e8d319", "@@", "count - 1"):
        assert never not in text


def test_an_argument_that_is_a_difference_is_shown_by_its_new_lines() -> None:
    s = Session()
    s.asks("ann", "coder", "assist", {"text": "The export drops the last row. Please repair it."})
    s.calls("coder", "shell", "apply_patch", {"patch": DIFFERENCE}, {"applied": True})
    many_steps(s)
    assert "«shop/report.py # the last row belongs to the report return rows[:count]" in shown(s, 256)


def test_an_edit_is_shown_by_the_lines_that_the_replaced_text_does_not_have() -> None:
    s = Session()
    s.asks("ann", "coder", "assist", {"text": "The export drops the last row. Please repair it."})
    old = "    def export(self, count):\n        rows = self.rows\n        return rows[: count - 1]\n"
    new = "    def export(self, count):\n        rows = self.rows\n        return rows[:count]\n"
    for n in range(8):
        edit = {"path": f"shop/report_{n}.py", "old_str": old, "new_str": new.replace("[:count]", f"[:count + {n}]")}
        s.calls("coder", "editor", "str_replace", edit, {"ok": True})
    many_steps(s)
    assert "- str_replace (editor) shop/report_7.py «return rows[:count + 7]» → ok true [" in shown(s, 256)


def test_a_file_that_is_written_again_is_shown_by_what_is_new_without_imports() -> None:
    first = "import sys\nfrom shop import report\n\ndef main():\n    print(report.export(120))\n    return 0\n"
    again = first.replace("    return 0\n", "    print(report.total())\n    return 0\n")
    s = Session()
    s.asks("ann", "coder", "assist", {"text": "Write a program that prints the report of the shop."})
    written = {"file": "shop/main.py", "content": first}
    s.calls("coder", "editor", "write_file", written, {"output": f"[shop/main.py]\n{first}"})
    s.calls("coder", "editor", "write_file", {**written, "content": again}, {"output": f"[shop/main.py]\n{again}"})
    many_steps(s)
    text = shown(s)
    assert "write_file (editor) file shop/main.py, content «def main(): print(report.export(120)) return 0» [" in text
    assert "write_file (editor) file shop/main.py, content «print(report.total())» [" in text
    assert "import sys" not in text


def test_an_edit_that_succeeds_after_it_failed_is_shown_whole() -> None:
    text_of_edit = "    rows = self.rows\n    if count:\n        rows = rows[:count]\n    return rows"
    s = Session()
    s.asks("ann", "coder", "assist", {"text": "The export drops the last row. Please repair it."})
    edit = {"path": "shop/report.py", "lines": "40:43", "text": text_of_edit}
    s.calls("coder", "editor", "edit_file", edit, error="E999 SyntaxError: unmatched ']'")
    s.calls("coder", "editor", "edit_file", {**edit, "lines": "40:44"}, {"applied": True})
    many_steps(s)
    assert "lines 40:44, text «rows = self.rows if count: rows = rows[:count] return rows» → applied true" in shown(s)


def test_the_last_program_that_was_run_is_kept_before_later_commands() -> None:
    s = Session()
    s.asks("ann", "coder", "assist", {"text": "The export drops the last row. Please repair it."})
    for n in range(14):
        s.calls("coder", "editor", "move_file", {"path": f"shop/part_{n}_of_the_report.py"}, {"ok": True})
    s.calls("coder", "shell", "run_command", {"command": "python check_rows.py"}, {"output": "120 rows, sum 7140"})
    for n in range(6):
        s.calls("coder", "shell", "run_command", {"command": f"rm part_{n}_of_the_old_report.txt"}, {"output": ""})
    assert "python check_rows.py» → «120 rows, sum 7140»" in shown(s, 256)


def test_a_comment_that_is_gone_is_no_name_of_a_file() -> None:
    header = "--- a/shop/orders.sql\n+++ b/shop/orders.sql\n@@ -1,2 +1,2 @@\n"
    s = Session()
    s.asks("ann", "coder", "assist", {"text": "Count the orders of a shop."})
    s.calls("coder", "shell", "run", {"command": "git diff"}, {"text": f"{header}--- all orders\n+SELECT count(*);\n"})
    many_steps(s)
    assert "«shop/orders.sql SELECT count(*);»" in shown(s, 256)


@pytest.mark.parametrize("key", ["content", "file_text"])
def test_a_file_is_compared_with_itself_also_if_its_text_is_given_first(key: str) -> None:
    s = Session()
    s.asks("ann", "coder", "assist", {"text": "Write a program that prints the report of the shop."})
    for last in ("return 0", "print(report.total())"):
        text = f"def main():\n    print(report.export(120))\n    {last}\n"
        s.calls("coder", "editor", "create_file", {key: text, "path": "shop/main.py"}, {"ok": True})
    many_steps(s)
    assert "«print(report.total())», path shop/main.py" in shown(s)


def test_lines_that_an_edit_only_removes_are_shown_as_new_if_they_are_written_again() -> None:
    lines = "total = prices.sum()\nreport.add(total)\n"
    s = Session()
    s.asks("ann", "coder", "assist", {"text": "Remove the total from the report of the shop."})
    s.calls("coder", "editor", "str_replace", {"path": "shop.py", "old_str": lines, "new_str": ""}, {"ok": True})
    s.calls("coder", "editor", "write_file", {"path": "shop.py", "content": f"{lines}print(report)\n"}, {"ok": True})
    many_steps(s)
    assert "content «total = prices.sum() report.add(total) print(report)»" in shown(s)


def test_a_change_whose_hunk_has_no_names_of_files_is_shown_by_its_new_lines() -> None:
    s = Session()
    s.asks("ann", "editor", "assist", {"text": "Please use version 18.3 of the types."})
    many_steps(s)
    hunk = '@@ -25,3 +25,3 @@\n     "@types/leaflet": "^1.9.8",\n-    "@types/react": "^19.0.0",\n+    "@types/react": "^18.3.3",'
    s.calls("bot", "editor", "search_replace", {"path": "web/package.json", "text": hunk}, {"output": "1 line changed"})
    assert 'web/package.json, text «"@types/react": "^18.3.3",»' in shown(s)


def test_of_a_document_what_it_says_is_shown_and_not_its_headings() -> None:
    s = Session()
    s.asks("ann", "company", "build", {"text": "Write a snake game for the terminal."})
    many_steps(s)
    design = "## Implementation approach\nThe game uses the module 'curses' of Python.\n## File list\n- snake.py\n- food.py\n"
    s.calls("company", "architect", "write_design", {"path": "docs/design.md"}, {"document": design * 9})
    text = shown(s)
    assert "The game uses the module 'curses' of Python." in text
    assert "##" not in text
