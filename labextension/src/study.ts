/** A study as what its views need: its trials in order, axes, what a brush leaves, orders of the table. Pure. */

import { number } from './format.js'; // with its ending: node runs the tests of this module
import type { StudyFrame, StudyHead, StudyRecord, StudyTrial } from './wire';

export interface StudyState {
  head: StudyHead | null;
  /** By number. */
  trials: StudyTrial[];
  /** How many there are; a record of a notebook has some of them. */
  total: number;
  gone: boolean;
  error: string;
}

export const NO_STUDY: StudyState = { head: null, trials: [], total: 0, gone: false, error: '' };

export function recorded(record: StudyRecord): StudyState {
  return { head: record.head, trials: record.trials, total: record.total, gone: false, error: '' };
}

/** The study after a frame: trials that did not change are the same objects as before. */
export function applyStudy(before: StudyState, frame: StudyFrame): StudyState {
  const { gone, error, total } = frame;
  const head = frame.head ?? before.head;
  if (!frame.head && !frame.fresh && !frame.trials.length && !frame.removed.length) {
    return { ...before, gone, error };
  }
  if (!frame.head) {
    // Gone or refused before anything was sent: what is known from elsewhere stays.
    return { ...before, gone, error };
  }
  let trials = frame.fresh ? [] : before.trials.slice();
  if (frame.removed.length) {
    const removed = new Set(frame.removed);
    trials = trials.filter(one => !removed.has(one.name));
  }
  const places = new Map(trials.map((one, n) => [one.name, n]));
  let ordered = true;
  for (const one of frame.trials) {
    const place = places.get(one.name);
    if (place !== undefined) {
      trials[place] = one;
    } else {
      const last = trials[trials.length - 1];
      ordered &&= !last || last.number <= one.number;
      places.set(one.name, trials.length);
      trials.push(one);
    }
  }
  if (!ordered) {
    trials.sort((a, b) => a.number - b.number);
  }
  return { head, trials, total, gone, error };
}

export function studyEnded(head: StudyHead): boolean {
  return head.state === 'Succeeded' || head.state === 'Failed';
}

const UNDER_WAY = ['Pending', 'Created', 'Running'];

export function trialEnded(trial: StudyTrial): boolean {
  return !UNDER_WAY.includes(trial.state);
}

export function low(head: StudyHead): boolean {
  return head.direction !== 'maximize';
}

export function bestOf(state: StudyState): StudyTrial | null {
  return state.trials.find(one => one.name === state.head?.best) ?? null;
}

/** What a trial that failed or still runs reported is no result. */
export function counts(trial: StudyTrial): boolean {
  return trial.state === 'Succeeded' || trial.state === 'EarlyStopped';
}

/** The values in the order of the trials, and the best until each; null before there is one. */
export function history(trials: readonly StudyTrial[], smaller: boolean): { shown: StudyTrial[]; xs: number[]; values: number[]; best: (number | null)[] } {
  const shown = trials.filter(one => one.value !== null);
  let soFar: number | null = null;
  const best = shown.map(one => {
    if (one.value !== null && counts(one)) {
      soFar = soFar === null ? one.value : smaller ? Math.min(soFar, one.value) : Math.max(soFar, one.value);
    }
    return soFar;
  });
  return { shown, xs: shown.map(one => one.number), values: shown.map(one => one.value ?? 0), best };
}

/** A scale of the parallel coordinates or of a slice: values to places from 0 to 1 and back. */
export interface Axis {
  name: string;
  /** The values of a choice; empty for numbers. */
  values: string[];
  low: number;
  high: number;
  log: boolean;
}

export function axesOf(head: StudyHead, trials: readonly StudyTrial[]): Axis[] {
  const axes: Axis[] = head.parameters.map(one =>
    one.values.length
      ? { name: one.name, values: one.values, low: 0, high: 0, log: false }
      : { name: one.name, values: [], low: one.low ?? 0, high: one.high ?? 1, log: one.log && (one.low ?? 0) > 0 }
  );
  let [least, most] = [Infinity, -Infinity];
  for (const { value } of trials) {
    if (value !== null) {
      least = Math.min(least, value);
      most = Math.max(most, value);
    }
  }
  const none = least > most;
  return [...axes, { name: head.objective, values: [], low: none ? 0 : least, high: none ? 1 : most, log: false }];
}

/** The axes as they were where they are no others: what was placed on them stays where it is. */
export function sameAxes(before: Axis[], now: Axis[]): Axis[] {
  return JSON.stringify(before) === JSON.stringify(now) ? before : now;
}

/** Where a value lies on its axis; null where it lies nowhere. */
export function placeOn(axis: Axis, said: string | number | null): number | null {
  if (said === null || said === '') {
    return null;
  }
  if (axis.values.length) {
    const at = axis.values.indexOf(String(said));
    return at < 0 ? null : (at + 0.5) / axis.values.length;
  }
  const value = Number(said);
  if (!Number.isFinite(value)) {
    return null;
  }
  if (axis.high === axis.low) {
    return 0.5;
  }
  const [from, to, at] = axis.log ? [Math.log(axis.low), Math.log(axis.high), Math.log(Math.max(value, axis.low))] : [axis.low, axis.high, value];
  return Math.min(1, Math.max(0, (at - from) / (to - from)));
}

/** The value at a place of an axis, in words. */
export function saidOn(axis: Axis, place: number): string {
  if (axis.values.length) {
    return axis.values[Math.min(axis.values.length - 1, Math.floor(place * axis.values.length))] ?? '';
  }
  if (axis.log) {
    return number(Math.exp(Math.log(axis.low) + place * (Math.log(axis.high) - Math.log(axis.low))));
  }
  return number(axis.low + place * (axis.high - axis.low));
}

/** Where trials lie on axes, as long as there are both: of ten thousand trials few change. */
const KNOWN = new WeakMap<readonly Axis[], WeakMap<StudyTrial, Float32Array>>();

/** The places of all trials on all axes, trial by trial; NaN for none. */
export function placesOf(axes: readonly Axis[], trials: readonly StudyTrial[]): Float32Array {
  const places = new Float32Array(axes.length * trials.length);
  const known = KNOWN.get(axes) ?? new WeakMap<StudyTrial, Float32Array>();
  KNOWN.set(axes, known);
  trials.forEach((one, row) => {
    let found = known.get(one);
    if (!found) {
      found = Float32Array.from(axes, (axis, n) => placeOn(axis, n < axes.length - 1 ? (one.values[n] ?? '') : one.value) ?? NaN);
      known.set(one, found);
    }
    places.set(found, row * axes.length);
  });
  return places;
}

/** What is looked at of each axis, by its name. */
export type Brush = Readonly<Record<string, readonly [number, number]>>;

/** The rows of which every brushed value lies within. */
export function within(axes: readonly Axis[], places: Float32Array, brush: Brush): number[] {
  const bounds = axes.map((axis, n) => ({ n, range: brush[axis.name] })).filter(one => one.range !== undefined);
  const rows: number[] = [];
  const count = axes.length ? places.length / axes.length : 0;
  for (let row = 0; row < count; row++) {
    const fits = bounds.every(({ n, range }) => {
      const place = places[row * axes.length + n] ?? NaN;
      return range !== undefined && place >= range[0] - 1e-6 && place <= range[1] + 1e-6;
    });
    if (fits) {
      rows.push(row);
    }
  }
  return rows;
}

/** Each trial's colour as a number from 0 (best) to `steps - 1`, by its rank; -1 for those without a value. */
export function ranks(trials: readonly StudyTrial[], smaller: boolean, steps: number): Int8Array {
  const found = new Int8Array(trials.length).fill(-1);
  const order = trials.map((_, n) => n).filter(n => trials[n]?.value !== null);
  order.sort((a, b) => ((trials[a]?.value ?? 0) - (trials[b]?.value ?? 0)) * (smaller ? 1 : -1));
  order.forEach((row, rank) => {
    found[row] = Math.min(steps - 1, Math.floor((rank * steps) / order.length));
  });
  return found;
}

/** By which column the table is sorted: `number`, `state`, `value`, `took`, `p0` (a parameter) or `m0` (a metric). */
export interface Order {
  by: string;
  down: boolean;
}

export function took(trial: StudyTrial, now: number): number | null {
  if (trial.started === null) {
    return null;
  }
  return trial.finished !== null ? trial.finished - trial.started : trialEnded(trial) ? null : Math.max(0, now - trial.started);
}

/** Rows in another order; those without a value stand at the end, whichever way. */
export function sorted(rows: readonly StudyTrial[], order: Order, now: number): StudyTrial[] {
  const place = Number(order.by.slice(1));
  const keys: Record<string, (one: StudyTrial) => string | number | null> = {
    number: one => one.number,
    state: one => one.state,
    value: one => one.value,
    took: one => took(one, now)
  };
  const parameter = (one: StudyTrial) => {
    const said = one.values[place] ?? '';
    return said !== '' && Number.isFinite(Number(said)) ? Number(said) : said || null;
  };
  const key = keys[order.by] ?? (order.by.startsWith('p') ? parameter : (one: StudyTrial) => one.metrics[place] ?? null);
  const made = rows.map(one => ({ one, key: key(one) }));
  const by = order.down ? -1 : 1;
  made.sort((a, b) => {
    if (a.key === null || b.key === null) {
      return a.key === b.key ? a.one.number - b.one.number : a.key === null ? 1 : -1;
    }
    if (typeof a.key === 'number' && typeof b.key === 'number') {
      return (a.key - b.key) * by || a.one.number - b.one.number;
    }
    return String(a.key).localeCompare(String(b.key)) * by || a.one.number - b.one.number;
  });
  return made.map(({ one }) => one);
}

// When each trial waited and ran

/** When a trial was made, when its program began (null: it waits, or nobody wrote that down), and until when. Epoch seconds. */
export interface Span {
  from: number;
  began: number | null;
  to: number;
}

/** Null for a trial that nobody has begun to look after. */
export function spanOf(trial: StudyTrial, now: number): Span | null {
  if (trial.started === null) {
    return null;
  }
  const to = trial.finished ?? (trialEnded(trial) ? trial.started : Math.max(now, trial.started));
  // Notebooks keep records that are older than `began`; clocks of different machines may differ.
  const began = (trial.began as number | null | undefined) ?? null;
  return { from: trial.started, began: began === null ? null : Math.min(to, Math.max(began, trial.started)), to };
}

/** Seconds that a trial waited, and that it ran; null where that is not known. */
export function partsOf(trial: StudyTrial, now: number): { waited: number | null; ran: number | null } {
  const span = spanOf(trial, now);
  if (!span) {
    return { waited: null, ran: null };
  }
  if (span.began === null) {
    return { waited: trial.state === 'Pending' || trial.state === 'Created' ? span.to - span.from : null, ran: null };
  }
  return { waited: span.began - span.from, ran: span.to - span.began };
}

/** The time from the first of some trials to the last, with a little room; at least a second. */
export function stretch(trials: readonly StudyTrial[], now: number): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const one of trials) {
    const span = spanOf(one, now);
    if (span) {
      low = Math.min(low, span.from);
      high = Math.max(high, span.to);
    }
  }
  if (low > high) {
    return [now - 1, now];
  }
  const room = Math.max(1, high - low) * 0.02;
  return [low - room, Math.max(high, low + 1) + room];
}

// Trials beside one another

export interface Compared {
  /** The parameters that are not the same in all, with a value a trial. */
  differ: { name: string; values: string[] }[];
  same: { name: string; value: string }[];
}

export function compared(head: StudyHead, trials: readonly StudyTrial[]): Compared {
  const found: Compared = { differ: [], same: [] };
  head.parameters.forEach(({ name }, n) => {
    const values = trials.map(one => one.values[n] ?? '');
    if (values.every(value => sameValue(value, values[0] ?? ''))) {
      found.same.push({ name, value: values[0] ?? '' });
    } else {
      found.differ.push({ name, values });
    }
  });
  return found;
}

/** Whether two texts are one value: `0.1` and `0.10` are. */
function sameValue(a: string, b: string): boolean {
  return a === b || (a !== '' && b !== '' && Number(a) === Number(b));
}

/** The best results, the best first. Not all are put in order for a few: this is asked with each change of a long study. */
export function bestFew(head: StudyHead, trials: readonly StudyTrial[], most: number): StudyTrial[] {
  const sign = low(head) ? 1 : -1;
  const worse = (a: StudyTrial, b: StudyTrial) => sign * ((a.value ?? 0) - (b.value ?? 0)) || a.number - b.number;
  const found: StudyTrial[] = [];
  for (const one of trials) {
    const last = found[most - 1];
    if (one.value === null || !counts(one) || (last && worse(one, last) >= 0)) {
      continue;
    }
    const place = found.findIndex(other => worse(one, other) < 0);
    found.splice(place < 0 ? found.length : place, 0, one);
    found.length = Math.min(found.length, most);
  }
  return found;
}
