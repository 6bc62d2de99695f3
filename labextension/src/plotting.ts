/** Metrics as what a plot needs: series of one axis, their colours, and what they say in words. Pure. */

import { clock as clockTime, number } from './format.js'; // with its ending: node runs the tests of this module
import type { Point } from './wire';

/** Colours of the theme, of which those that stand beside one another differ most. */
export const COLORS = [
  'brand-color1',
  'jupyter-icon-color',
  'icon-contrast-color1',
  'icon-contrast-color0',
  'info-color1',
  'icon-contrast-color2',
  'mirror-editor-bracket-color',
  'mirror-editor-string-color'
].map(name => `var(--jp-${name})`);
const DASHES: number[][] = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
/** Lines of one plot: as many as colour and dash together tell apart. */
export const MOST_SERIES = COLORS.length * DASHES.length;

export interface Series {
  name: string;
  points: Point[];
  /** Its place in the order of speakers, which decides its looks. */
  index: number;
  /** A line unless it is said. */
  drawn?: 'dots' | 'steps';
}

/** What a line looks like. No two of the first 32 look alike, and neighbours differ in more than colour. */
export function look(index: number): { color: string; dash: number[] } {
  const place = Math.max(0, index);
  const dash = DASHES[(place + Math.floor(place / COLORS.length)) % DASHES.length] ?? [];
  return { color: COLORS[place % COLORS.length] ?? '', dash };
}

/** The metrics of a view as series, looking alike everywhere. */
export function seriesOf(metric: Record<string, Point[]>, order: string[]): Series[] {
  return Object.entries(metric)
    .filter(([, points]) => points.length)
    .map(([name, points]) => ({ name, points, index: Math.max(0, order.indexOf(name)) }))
    .sort((a, b) => a.index - b.index)
    .slice(0, MOST_SERIES);
}

/**
 * Series over one axis: `values[n][i]` is what the series `n` has at `xs[i]`. Where it has what is no number there is
 * null, which is a gap; where it has nothing at all there is undefined, over which its line goes on.
 */
export interface Table {
  /** Whether the axis counts the programs' own steps, or the values printed. */
  stepped: boolean;
  xs: number[];
  values: (number | null | undefined)[][];
}

/** A part of the axis; null is all of it. */
export type Zoom = [number, number] | null;

/** What draws a plot is given. */
export interface DrawnProps {
  data: Table;
  series: Series[];
  hidden: ReadonlySet<string>;
  height: number;
  /** Plots of one group show the same place of the axis. */
  group: string;
  label: string;
  zoom: Zoom;
  onZoom: (zoom: Zoom) => void;
  /** The axis is logarithmic. */
  log?: boolean | undefined;
  /** The axis has epoch seconds, told as times of the clock. */
  clock?: boolean | undefined;
  /** What stands at 0, 1, 2 and so on of an axis of choices. */
  choices?: readonly string[] | undefined;
  /** A place of the axis was chosen, by a click or the enter key. */
  onPick?: ((index: number) => void) | undefined;
  /** The place of the axis that is looked at. */
  at: number | null;
  onAt: (index: number | null) => void;
}

export function aligned(series: readonly Series[]): Table {
  const stepped = series.every(one => one.points.every(point => point.step !== null));
  const maps = series.map(one => {
    // A replica that was started again says a step once more: what it said last counts.
    const map = new Map<number, number | null>();
    one.points.forEach((point, n) => map.set(stepped && point.step !== null ? point.step : n + 1, finite(point.value)));
    return map;
  });
  const xs = [...new Set(maps.flatMap(map => [...map.keys()]))].sort((a, b) => a - b);
  return { stepped, xs, values: maps.map(map => xs.map(x => map.get(x))) };
}

/** JSON has no infinity and no NaN: a value that is none comes as null. */
function finite(value: number | null): number | null {
  return value !== null && Number.isFinite(value) ? value : null;
}

/** The place in growing numbers that is nearest to one. */
export function nearest(xs: readonly number[], wanted: number): number {
  let low = 0;
  let high = xs.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((xs[middle] ?? Infinity) < wanted) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  const before = xs[low - 1];
  const at = xs[low];
  return before !== undefined && at !== undefined && wanted - before < at - wanted ? low - 1 : low;
}

/** The part of an axis that is half (`by` 0.5) or twice (2) as wide around a place of it, within the whole. */
export function zoomed(xs: readonly number[], range: [number, number], at: number, by: number): [number, number] | null {
  const first = xs[0];
  const last = xs[xs.length - 1];
  if (first === undefined || last === undefined) {
    return null;
  }
  const low = Math.max(first, at - (at - range[0]) * by);
  const high = Math.min(last, at + (range[1] - at) * by);
  return low <= first && high >= last ? null : [low, high];
}

/** What a listener is told of one place: `worker-0 0.31, worker-1 0.29`. */
export function spoken(series: readonly Series[], values: readonly (number | null | undefined)[]): string {
  return series
    .map((one, n) => ({ name: one.name, value: values[n] ?? null }))
    .filter(({ value }) => value !== null)
    .map(({ name, value }) => `${name} ${number(value)}`)
    .join(', ');
}

/** A place of an axis in words. */
export function named(x: number | null, { choices, clock }: Pick<DrawnProps, 'choices' | 'clock'>): string {
  return clock ? clockTime(x) : choices && x !== null ? (choices[x] ?? '') : number(x);
}

/** What a place of the axis says, for those who listen. */
export function saidAt({ data, series, hidden, choices, clock }: DrawnProps, index: number): string {
  const shown = series.map((one, n) => ({ one, value: data.values[n]?.[index] })).filter(({ one }) => !hidden.has(one.name));
  return `${named(data.xs[index] ?? null, { choices, clock })}: ${spoken(shown.map(({ one }) => one), shown.map(({ value }) => value))}`;
}

/** The part of an axis around a single value: wide enough for a mark, and on the value's own side of nothing. */
export function around(value: number): [number, number] {
  if (value === 0) {
    return [0, 1];
  }
  const room = Math.abs(value) / 2;
  return [value - room, value + room];
}

const DAY = 86_400;
/** Between marks of an axis of time: what a clock has. */
const TIMES = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, DAY, 2 * DAY, 7 * DAY, 30 * DAY];

/** Where an axis of epoch seconds has its marks: at most so many, at whole seconds, minutes, hours or days of the clock here. */
export function timeMarks(low: number, high: number, most: number): number[] {
  const step = TIMES.find(one => (high - low) / one <= most) ?? 365 * DAY;
  // Hours and days begin where the clock on the wall says so.
  const ahead = -60 * new Date(low * 1000).getTimezoneOffset();
  const marks = [];
  for (let at = Math.ceil((low + ahead) / step) * step - ahead; at <= high; at += step) {
    marks.push(at);
  }
  return marks;
}

/** The marks of an axis of time in words: the day where there are several, seconds where those differ. */
export function timeWords(marks: readonly number[]): string[] {
  const step = marks.length > 1 ? (marks[1] ?? 0) - (marks[0] ?? 0) : 1;
  const time: Intl.DateTimeFormatOptions = { hour: 'numeric', minute: '2-digit' };
  const day: Intl.DateTimeFormatOptions = { month: 'short', day: 'numeric' };
  const apart = marks.length > 1 && new Date((marks[0] ?? 0) * 1000).getDate() !== new Date((marks[marks.length - 1] ?? 0) * 1000).getDate();
  const form = step >= DAY ? day : { ...time, ...(step < 60 ? { second: '2-digit' as const } : {}), ...(apart ? day : {}) };
  return marks.map(at => new Intl.DateTimeFormat(undefined, form).format(new Date(at * 1000)));
}
