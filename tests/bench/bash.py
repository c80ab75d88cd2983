"""Completion as bash performs it."""

import subprocess


def completed(script: str, *words: str) -> list[str]:
    """Completions of the last word by bash."""
    function = script.split(" -F ")[1].split()[0]
    call = (
        f'COMP_WORDS=({" ".join(map(repr, words))}); COMP_CWORD={len(words) - 1}; {function}; echo "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash"], input=f"{script}\n{call}\n", text=True, capture_output=True, check=True)
    return done.stdout.split()
