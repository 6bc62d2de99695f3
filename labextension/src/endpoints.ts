/** Endpoints on the screen, as pure functions of what came over the wire: shares of requests, series of measures, a drawn graph. */

import type { Measured } from './model';
import type { Chosen, EndpointFrame, EndpointKey, EndpointRow, EndpointView, Finding, Findings, GraphUnit, JobView, Moment, Point, Sample, Totals, VersionView } from './wire';

/** Samples that are kept: those of a quarter of an hour. */
const MOST_SAMPLES = 450;
const ALL = 100;

/** An endpoint as it is shown. */
export interface EndpointState {
  view: EndpointView | null;
  totals: Record<string, Totals>;
  samples: Sample[];
  gone: boolean;
  error: string;
  /** What its monitor found; null without one, and before it was asked. */
  findings: Findings | null;
  /** Why that is old, or not there. */
  unwatched: string;
}

export const NO_ENDPOINT: EndpointState = { view: null, totals: {}, samples: [], gone: false, error: '', findings: null, unwatched: '' };

export function applyEndpoint(before: EndpointState, frame: EndpointFrame): EndpointState {
  const samples = frame.fresh ? frame.samples : [...before.samples, ...frame.samples].slice(-MOST_SAMPLES);
  const findings = frame.monitored ? (frame.findings ?? before.findings) : null;
  const { totals, gone, error, unwatched } = frame;
  return { view: frame.view ?? before.view, totals, samples, gone, error, findings, unwatched };
}

export function keyOfEndpoint(view: EndpointView): EndpointKey {
  const { namespace, name, uid } = view.ref;
  return { namespace, name, uid };
}

/** The phase of a job whose sign and colour a state of an endpoint has. */
export function phaseOf(state: string): string {
  return { Ready: 'Succeeded', Degraded: 'Restarting', Starting: 'Pending', Failed: 'Failed' }[state] ?? 'Unknown';
}

// Shares of requests

export type Shares = Record<string, number>;

/** The percentages that answer now; mirrors answer nothing. */
export function sharesOf(versions: readonly VersionView[]): Shares {
  return Object.fromEntries(versions.filter(one => one.mirror === null).map(one => [one.name, one.traffic]));
}

/**
 * The shares when one of them is set: the others keep their proportions, in whole percents that sum to 100. Where the
 * others have nothing, they have the proportions of `base`; where they had nothing there, equal ones.
 */
export function rebalanced(shares: Shares, name: string, value: number, base: Shares = shares): Shares {
  const others = Object.keys(shares).filter(one => one !== name);
  if (!others.length) {
    return { [name]: ALL };
  }
  const mine = Math.max(0, Math.min(ALL, Math.round(value)));
  const parts = [shares, base, Object.fromEntries(others.map(one => [one, 1]))].find(from => sum(others, from) > 0) ?? {};
  const whole = sum(others, parts);
  const exact = others.map(one => ((parts[one] ?? 0) * (ALL - mine)) / whole);
  const floors = exact.map(Math.floor);
  let left = ALL - mine - floors.reduce((a, b) => a + b, 0);
  const order = exact.map((one, n) => [one - (floors[n] ?? 0), n] as const).sort((a, b) => b[0] - a[0] || a[1] - b[1]);
  for (const [, n] of order) {
    if (left-- <= 0) {
      break;
    }
    floors[n] = (floors[n] ?? 0) + 1;
  }
  const rest = new Map(others.map((one, n) => [one, floors[n] ?? 0]));
  return Object.fromEntries(Object.keys(shares).map(one => [one, one === name ? mine : (rest.get(one) ?? 0)]));
}

function sum(names: string[], from: Shares): number {
  return names.reduce((total, one) => total + (from[one] ?? 0), 0);
}

export function sameShares(a: Shares, b: Shares): boolean {
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...names].every(one => (a[one] ?? 0) === (b[one] ?? 0));
}

// Measures as plots

/** The titles of the plots, by what they show. */
export interface PlotTitles {
  rate: string;
  errors: string;
  p50: string;
  p95: string;
  p99: string;
  reward: string;
}

/** What the plots of a router's branches show. */
export interface BranchTitles {
  chosen: string;
  reward: string;
}

/** Samples as what plots are made of: over the time of the clock, a line for each version. */
export function plotsOf(samples: readonly Sample[], versions: readonly VersionView[], titles: PlotTitles): Measured {
  const names = versions.map(({ name }) => name);
  const series = (value: (name: string, sample: Sample) => number | null | undefined) => linesOf(samples, names, value);
  const milliseconds = (seconds: number | null | undefined) => (typeof seconds === 'number' ? seconds * 1000 : seconds);
  const some = (found: (one: Moment) => boolean) => samples.some(one => Object.values(one.versions).some(found));
  const failed = some(({ errors }) => errors > 0);
  const rewarded = some(({ reward }) => typeof reward === 'number');
  const metrics: JobView['metrics'] = {
    [titles.rate]: series((name, { versions: seen }) => seen[name]?.rate),
    ...(failed ? { [titles.errors]: series((name, { versions: seen }) => seen[name]?.errors) } : {}),
    [titles.p50]: series((name, { versions: seen }) => milliseconds(seen[name]?.p50)),
    [titles.p95]: series((name, { versions: seen }) => milliseconds(seen[name]?.p95)),
    [titles.p99]: series((name, { versions: seen }) => milliseconds(seen[name]?.p99)),
    ...(rewarded ? { [titles.reward]: series((name, { versions: seen }) => seen[name]?.reward) } : {})
  };
  return { metrics, replicas: [], log: [] };
}

/** What routers that learn choose, and how their branches do, a line for each branch; nothing where no router learns. */
export function branchPlotsOf(samples: readonly Sample[], titles: BranchTitles, endpoint = ''): Measured | null {
  const seen = (sample: Sample) =>
    Object.entries(sample.versions).flatMap(([version, { branches }]) =>
      Object.entries(branches).map(([name, found]) => [shortName(name, endpoint, version), found] as const)
    );
  const names = [...new Set(samples.flatMap(sample => seen(sample).map(([name]) => name)))];
  if (!names.length) {
    return null;
  }
  const series = (value: (one: Chosen) => number | null) =>
    linesOf(samples, names, (name, sample) => {
      const found = seen(sample).find(([one]) => one === name);
      return found && value(found[1]);
    });
  // One line alone has no legend that would name it.
  const titled = (title: string) => (names.length === 1 ? `${title} (${names[0]})` : title);
  const metrics = { [titled(titles.chosen)]: series(one => one.rate), [titled(titles.reward)]: series(one => one.reward) };
  return { metrics, replicas: [], log: [] };
}

/** A line for each name over the time of the clock, of the values that are known. */
function linesOf(samples: readonly Sample[], names: readonly string[], value: (name: string, sample: Sample) => number | null | undefined): Record<string, Point[]> {
  return Object.fromEntries(
    names.map((name): [string, Point[]] => [
      name,
      samples.flatMap(sample => {
        const found = value(name, sample);
        // Without requests there is no latency: what was measured last stays the newest.
        return typeof found === 'number' ? [{ value: found, step: sample.at, time: sample.at }] : [];
      })
    ])
  );
}

// The graph, drawn from left to right

export const NODE = { width: 148, height: 40, gapX: 46, gapY: 12 };

export interface PlacedUnit {
  id: string;
  name: string;
  /** Its name on the cluster. */
  whole: string;
  type: string;
  x: number;
  y: number;
}

export interface PlacedEdge {
  from: PlacedUnit;
  to: PlacedUnit;
  label: string;
  faint: boolean;
}

export interface Drawing {
  width: number;
  height: number;
  units: PlacedUnit[];
  edges: PlacedEdge[];
}

/** A unit's name without those of its endpoint and version, which units on a cluster begin with. */
export function shortName(unit: string, endpoint: string, version: string): string {
  const own = `${endpoint}-${version}`;
  if (unit === own) {
    return version;
  }
  return unit.length > own.length + 1 && unit.startsWith(`${own}-`) ? unit.slice(own.length + 1) : unit;
}

/** Which ways a request took, in short names: `random → twice`. Who has one way only has nothing to tell. */
export function routesOf(routing: Readonly<Record<string, number>>, versions: readonly VersionView[], endpoint: string): string[] {
  const known = versions.flatMap(one => (one.units ? unitsOf(one.units).map(unit => ({ unit, version: one.name })) : []));
  return Object.entries(routing)
    .filter(([, branch]) => branch >= 0)
    .map(([name, branch]) => {
      const found = known.find(({ unit }) => unit.name === name);
      const short = (one: string) => (found ? shortName(one, endpoint, found.version) : one);
      const to = found?.unit.children[branch];
      return `${short(name)} → ${to ? short(to.name) : branch}`;
    });
}

function unitsOf(unit: GraphUnit): GraphUnit[] {
  return [unit, ...unit.children.flatMap(unitsOf)];
}

/** Where the units of all versions go: the requests at the left, each version's graph as a tree to the right of them. */
export function drawn(versions: readonly VersionView[], endpoint = ''): Drawing {
  const units: PlacedUnit[] = [];
  const edges: PlacedEdge[] = [];
  let row = 0;
  const place = (unit: GraphUnit, depth: number, id: string, version: string): PlacedUnit => {
    const below = unit.children.map((one, n) => place(one, depth + 1, `${id}/${n}`, version));
    const first = below[0];
    const last = below[below.length - 1];
    const y = first && last ? (first.y + last.y) / 2 : row++ * (NODE.height + NODE.gapY);
    const made = { id, name: shortName(unit.name, endpoint, version), whole: unit.name, type: unit.type, x: depth * (NODE.width + NODE.gapX), y };
    units.push(made);
    below.forEach(to => edges.push({ from: made, to, label: '', faint: false }));
    return made;
  };
  const roots = versions.flatMap(one => (one.units ? [{ version: one, unit: place(one.units, 1, one.name, one.name) }] : []));
  const ends = roots.map(({ unit }) => unit.y);
  const root: PlacedUnit = { id: '', name: '', whole: '', type: 'REQUESTS', x: 0, y: ends.length ? ((ends[0] ?? 0) + (ends[ends.length - 1] ?? 0)) / 2 : 0 };
  for (const { version, unit } of roots) {
    const mirror = version.mirror !== null;
    edges.push({ from: root, to: unit, label: `${version.mirror ?? version.traffic} %`, faint: mirror || !version.traffic });
  }
  units.push(root);
  const width = Math.max(...units.map(one => one.x)) + NODE.width;
  return { width, height: Math.max(1, row) * (NODE.height + NODE.gapY) - NODE.gapY, units, edges };
}

/** The rows in which each of the words is found: in the name, the namespace, the state, the protocol, or a version's name. */
export function filteredEndpoints(rows: readonly EndpointRow[], text: string): EndpointRow[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const told = (row: EndpointRow) =>
    [row.name, row.namespace, row.state, row.protocol, row.message, ...row.versions.map(one => one.name)].join('\n').toLowerCase();
  return rows.filter(row => words.every(word => told(row).includes(word)));
}

/** What one is asked with, of the version that answers most. */
export function exampleOf(versions: readonly VersionView[]): string {
  const live = [...versions].sort((a, b) => b.traffic - a.traffic).find(one => one.example);
  return live?.example ?? '[[1, 1, 1, 1]]';
}

/** Names of versions with their shares, for a line of a list: `v1 90 %, v2 10 %`. */
export function sharesText(versions: readonly { name: string; traffic: number; mirror: boolean }[]): string {
  const live = versions.filter(one => !one.mirror && one.traffic);
  return live.length === 1 && live[0] ? live[0].name : live.map(one => `${one.name} ${one.traffic} %`).join(', ');
}

// What a monitor found

/** A bar of the reference beside one of what was seen, as shares of the highest. */
export interface Bar {
  label: string;
  expected: number;
  seen: number;
}

/** The two distributions of a finding as bars of 0 to 1; none where it has none. */
export function barsOf(finding: Finding): Bar[] {
  const { edges, expected, seen } = finding;
  const top = Math.max(0, ...expected, ...seen);
  if (!top || (edges.length !== seen.length && edges.length !== seen.length + 1)) {
    return [];
  }
  const bins = edges.length === seen.length + 1;
  return seen.map((share, n) => ({
    label: bins ? `${String(edges[n])} – ${String(edges[n + 1])}` : String(edges[n]),
    expected: (expected[n] ?? 0) / top,
    seen: share / top
  }));
}
