/** A log as it comes: appended to and never copied, looked up by replica and by words without going through it again. Pure. */

import { clean } from './format.js'; // with its ending: node runs the tests of this module
import type { Line } from './wire';

const BITS = 12;
const CHUNK = 1 << BITS;
/** Lines that are kept; of more the beginning is let go of, a chunk at a time. */
const MOST = 200_000;

/** Lines by their numbers, which count from the first that ever came and never change. */
export class LogBuffer {
  constructor(private readonly most = MOST) {}

  /** The number of the oldest line that is kept. */
  get first(): number {
    return this._gone << BITS;
  }

  /** The number that the next line will have. */
  get end(): number {
    return this._end;
  }

  /** Who has spoken, in the order of their first words. */
  get replicas(): string[] {
    return [...this._numbers.keys()];
  }

  at(number: number): Line | undefined {
    return this._chunks[(number >> BITS) - this._gone]?.[number & (CHUNK - 1)];
  }

  append(lines: readonly Line[]): void {
    for (const line of lines) {
      let chunk = this._chunks[this._chunks.length - 1];
      if (!chunk || chunk.length === CHUNK) {
        chunk = [];
        this._chunks.push(chunk);
      }
      chunk.push(line);
      let numbers = this._numbers.get(line.r);
      if (!numbers) {
        numbers = [];
        this._numbers.set(line.r, numbers);
      }
      numbers.push(this._end++);
    }
    while (this._end - this.first - CHUNK >= this.most) {
      this._chunks.shift();
      this._gone += 1;
      this._numbers.forEach(numbers => drop(numbers, this.first));
    }
  }

  /** All lines, or those of one replica. */
  rows(replica: string): Rows {
    if (!replica) {
      const { first, end } = this;
      return { size: end - first, number: index => first + index, index: number => number - first };
    }
    return rowsOf(this._numbers.get(replica) ?? []);
  }

  private readonly _chunks: Line[][] = [];
  private readonly _numbers = new Map<string, number[]>();
  private _gone = 0;
  private _end = 0;
}

/** What is shown: rows from 0, each the line of a number. */
export interface Rows {
  size: number;
  number(index: number): number;
  /** The row of a line, or of the next that is shown. */
  index(number: number): number;
}

/** Rows of growing numbers. */
export function rowsOf(numbers: readonly number[]): Rows {
  return {
    size: numbers.length,
    number: index => numbers[index] ?? -1,
    index: number => lowest(numbers, number)
  };
}

/** The lines that have certain words: each line is looked at once, however many come and however often one asks. */
export class Finder {
  constructor(
    private readonly buffer: LogBuffer,
    text: string,
    private readonly replica: string
  ) {
    this._wanted = text.toLowerCase();
    this._next = buffer.first;
  }

  /** The numbers of the lines found so far. */
  readonly hits: number[] = [];

  /** Look through at most so many further lines; whether all that there are were looked through. */
  advance(most: number): boolean {
    const { buffer } = this;
    drop(this.hits, buffer.first);
    const rows = buffer.rows(this.replica);
    const begin = rows.index(Math.max(this._next, buffer.first));
    const end = Math.min(rows.size, begin + most);
    for (let index = begin; index < end; index++) {
      const number = rows.number(index);
      const line = buffer.at(number);
      if (line && clean(line.s).toLowerCase().includes(this._wanted)) {
        this.hits.push(number);
      }
    }
    this._next = end < rows.size ? rows.number(end) : buffer.end;
    return end === rows.size;
  }

  /** The hit after (`by` 1) or before (-1) a line, around the end; the first or last from nowhere; null without hits. */
  step(from: number | null, by: 1 | -1): number | null {
    const { hits } = this;
    const count = hits.length;
    if (!count) {
      return null;
    }
    const at = from === null ? (by > 0 ? 0 : count) : lowest(hits, by > 0 ? from + 1 : from);
    return hits[(by > 0 ? at : at - 1 + count) % count] ?? null;
  }

  private readonly _wanted: string;
  private _next: number;
}

/** A text cut at each place of certain words: what is at an odd index are the words. */
export function cut(text: string, wanted: string): string[] {
  const parts: string[] = [];
  const low = text.toLowerCase();
  const words = wanted.toLowerCase();
  let from = 0;
  // Where lower case has another length (a Turkish dotted I), places in the two texts differ: then nothing is marked.
  for (let at = words && low.length === text.length ? low.indexOf(words) : -1; at >= 0; at = low.indexOf(words, from)) {
    parts.push(text.slice(from, at), text.slice(at, at + words.length));
    from = at + words.length;
  }
  parts.push(text.slice(from));
  return parts;
}

/** Where a number stands in growing ones, or would stand. */
function lowest(numbers: readonly number[], number: number): number {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((numbers[middle] ?? Infinity) < number) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

function drop(numbers: number[], below: number): void {
  if ((numbers[0] ?? Infinity) < below) {
    numbers.splice(0, lowest(numbers, below));
  }
}
