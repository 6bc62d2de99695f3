/** A unified diff as stretches of lines that are read together. Pure. */

/** Lines of which all come, all go, or all stay; `sign` is what they begin with. */
export interface Stretch {
  sign: string;
  lines: string[];
  /** Whether it is shown only to who asks for it. */
  folded: boolean;
}

/** Lines that stay of which as many are shown beside a change. */
const BESIDE = 2;
/** What comes or goes in one piece is shown up to so many lines, and its first ones where it is longer. */
const LONG = 30;
const FIRST = 18;
/** Fewer are not worth a fold. */
const LEAST = 4;

function signOf(line: string): string {
  const first = line[0] ?? '';
  return /^(---|\+\+\+) /.test(line) ? '@' : '+-@'.includes(first) && first ? first : ' ';
}

/** The diff with what is long or stays folded. Nothing is left out, and the order is the diff's. */
export function folded(text: string): Stretch[] {
  const lines = text.split('\n');
  const found: Stretch[] = [];
  for (let at = 0; at < lines.length; ) {
    const sign = signOf(lines[at] ?? '');
    let end = at + 1;
    while (end < lines.length && signOf(lines[end] ?? '') === sign) {
      end += 1;
    }
    found.push(...parted(lines.slice(at, end), sign));
    at = end;
  }
  return found;
}

function parted(lines: string[], sign: string): Stretch[] {
  const long = sign !== '@' && lines.length > LONG;
  const [from, to] = sign === ' ' ? [BESIDE, lines.length - BESIDE] : long ? [FIRST, lines.length] : [0, 0];
  if (to - from < LEAST) {
    return [{ sign, lines, folded: false }];
  }
  const parts = [lines.slice(0, from), lines.slice(from, to), lines.slice(to)];
  return parts.map((part, n) => ({ sign, lines: part, folded: n === 1 })).filter(part => part.lines.length);
}

/** How many lines come and go. */
export function counted(text: string): { more: number; less: number } {
  const signs = text.split('\n').map(signOf);
  return { more: signs.filter(one => one === '+').length, less: signs.filter(one => one === '-').length };
}
