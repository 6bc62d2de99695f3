/** A notebook's cells as one Python program. Pure. */

/**
 * The code of cells, one after another.
 *
 * Cells that are ours (`%%kf_...`) or another language's are left out, lines that only a notebook understands become
 * comments: a job runs Python, and says so when that is not enough.
 */
export function codeOf(cells: string[]): string {
  const parts: string[] = [];
  for (const source of cells) {
    const first = source.trimStart().split('\n', 1)[0] ?? '';
    let text = source;
    if (first.startsWith('%%')) {
      if (!/^%%(time|timeit|capture|kf_train)\b/.test(first)) {
        continue;
      }
      text = source.slice(source.indexOf(first) + first.length + 1);
    }
    const lines = text.split('\n').map(line => (/^\s*(%%?[A-Za-z_]|[!?]\S)/.test(line) ? line.replace(/^(\s*)(.*)$/, '$1pass  # $2') : line));
    const joined = lines.join('\n').trimEnd();
    if (joined.trim()) {
      parts.push(joined);
    }
  }
  return parts.length ? `${parts.join('\n\n\n')}\n` : '';
}
