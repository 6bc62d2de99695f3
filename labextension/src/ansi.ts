/** The colours and weights that programs give their lines by escape sequences (SGR), as classes of ours. Pure. */

import { clean } from './format.js'; // with its ending: node runs the tests of this module

/** A part of a line that looks one way; `look` is empty where nothing was asked for. */
export interface Part {
  text: string;
  look: string;
}

const COLOURS = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white'];
const WEIGHTS: Record<number, string> = { 1: 'bold', 2: 'dim', 3: 'italic', 4: 'underline' };
/** What takes a weight back: 22 ends bold and dim. */
const ENDS: Record<number, string[]> = { 22: ['bold', 'dim'], 23: ['italic'], 24: ['underline'] };
// eslint-disable-next-line no-control-regex
const SGR = /\u001b\[([\d;:]*)m/;

/** A line in parts; what they say together is what `clean` makes of it. Each line begins plain, as a log has many writers. */
export function parted(line: string): Part[] {
  if (!line.includes('\u001b[')) {
    return [{ text: clean(line), look: '' }];
  }
  const pieces = line.split(SGR);
  const parts: Part[] = [];
  const state = { colour: '', weights: new Set<string>() };
  pieces.forEach((piece, n) => {
    if (n % 2) {
      apply(state, piece);
      return;
    }
    const text = clean(piece);
    if (text) {
      parts.push({ text, look: [state.colour, ...state.weights].filter(Boolean).map(name => `kfx-ansi-${name}`).join(' ') });
    }
  });
  return parts;
}

function apply(state: { colour: string; weights: Set<string> }, codes: string): void {
  const numbers = codes.split(/[;:]/).map(Number);
  for (let at = 0; at < numbers.length; at++) {
    const code = numbers[at] ?? 0;
    if (code === 0) {
      state.colour = '';
      state.weights.clear();
    } else if (code in WEIGHTS) {
      state.weights.add(WEIGHTS[code] ?? '');
    } else if (code in ENDS) {
      ENDS[code]?.forEach(weight => state.weights.delete(weight));
    } else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) {
      state.colour = COLOURS[code % 10] ?? '';
    } else if (code === 38 || code === 48) {
      // One of 256, or red, green and blue: of these only the eight that have names are the theme's.
      const named = numbers[at + 1] === 5 ? COLOURS[(numbers[at + 2] ?? 99) % 8] : undefined;
      if (code === 38) {
        state.colour = named && (numbers[at + 2] ?? 99) < 16 ? named : '';
      }
      at += numbers[at + 1] === 5 ? 2 : 4;
    } else if (code === 39) {
      state.colour = '';
    }
  }
}

/** Parts cut further at the places where others are cut: `lengths` are those of the others, over the same text. */
export function cutAt(parts: readonly Part[], lengths: readonly number[]): { text: string; look: string; place: number }[] {
  const found: { text: string; look: string; place: number }[] = [];
  let place = 0;
  let room = lengths[0] ?? Infinity;
  for (const { text, look } of parts) {
    let rest = text;
    while (rest) {
      while (room === 0) {
        place += 1;
        room = lengths[place] ?? Infinity;
      }
      const piece = rest.slice(0, room);
      found.push({ text: piece, look, place });
      rest = rest.slice(piece.length);
      room -= piece.length;
    }
  }
  return found;
}
