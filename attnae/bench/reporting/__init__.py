"""From result files to pages: statistics, verdicts, tables and figures; nothing here trains or measures."""
