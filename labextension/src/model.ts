/** What is on the screen, as pure functions of what came over the wire. */

import type { JobFrame, JobGroup, JobKey, JobRow, JobView, Phase, Replica, RowsFrame } from './wire';

/** A window of rows. `items` begin at `offset`; `size` counts all that could be scrolled to. */
export interface RowsState {
  total: number;
  matched: number;
  size: number;
  offset: number;
  items: (JobRow | JobGroup)[];
  rows: ReadonlyMap<string, JobRow>;
  counts: Record<string, number>;
  namespaces: string[];
  loaded: boolean;
}

export const NO_ROWS: RowsState = {
  total: 0,
  matched: 0,
  size: 0,
  offset: 0,
  items: [],
  rows: new Map(),
  counts: {},
  namespaces: [],
  loaded: false
};

export function isGroup(item: JobRow | JobGroup): item is JobGroup {
  return !('uid' in item);
}

/** The window after a frame: rows that did not change are the same objects as before. */
export function applyRows(before: RowsState, frame: RowsFrame): RowsState {
  const rows = new Map<string, JobRow>();
  const fresh = new Map(frame.rows.map(row => [row.uid, row]));
  const items: (JobRow | JobGroup)[] = [];
  for (const item of frame.items) {
    if (typeof item !== 'string') {
      items.push(item);
      continue;
    }
    const row = fresh.get(item) ?? before.rows.get(item);
    if (row) {
      rows.set(item, row);
      items.push(row);
    }
  }
  const { total, matched, size, offset, counts, namespaces } = frame;
  return { total, matched, size, offset, items, rows, counts, namespaces, loaded: true };
}

/** A job as it is shown. */
export interface JobState {
  view: JobView | null;
  gone: boolean;
  error: string;
}

export function applyJob(before: JobState, frame: JobFrame): JobState {
  const merged = { ...before.view, ...frame.view } as JobView;
  const complete = 'ref' in merged;
  return { view: complete ? merged : null, gone: frame.gone, error: frame.error };
}

export function finished(phase: string): boolean {
  return phase === 'Succeeded' || phase === 'Failed';
}

export function keyOf(row: JobRow): JobKey {
  return { kind: row.kind, namespace: row.namespace, name: row.name, uid: row.uid };
}

export function keyOfView(view: JobView): JobKey {
  const { kind, namespace, name, uid } = view.ref;
  return { kind, namespace, name, uid };
}

/** One character for a phase, never its only mark. */
export const SIGNS: Record<string, string> = {
  Pending: '◔',
  Waiting: '◔',
  Running: '▶',
  Restarting: '↻',
  Suspended: '‖',
  Succeeded: '✔',
  Failed: '✖'
};

export const PHASES: Phase[] = ['Running', 'Pending', 'Restarting', 'Suspended', 'Failed', 'Succeeded'];

const TITLES: Record<string, [string, string]> = {
  pytorch: ['PyTorch', 'PT'],
  tensorflow: ['TensorFlow', 'TF'],
  mpi: ['MPI', 'MPI'],
  mxnet: ['MXNet', 'MX'],
  chainer: ['Chainer', 'CH']
};

/** The framework as its makers write it. */
export function frameworkTitle(name: string): string {
  return TITLES[name]?.[0] ?? name;
}

/** Two or three letters for it. */
export function frameworkMark(name: string): string {
  return TITLES[name]?.[1] ?? name.slice(0, 2).toUpperCase();
}

/** What has metrics to plot, of speakers that look alike everywhere. */
export type Measured = Pick<JobView, 'metrics' | 'replicas' | 'log'>;

/** Names that log lines and metrics may carry, in a stable order: who speaks comes first and gets the first colours. */
export function speakers(view: Measured): string[] {
  const order = view.replicas.map(replicaName);
  const voices = new Set(view.log.map(line => line.replica));
  for (const series of Object.values(view.metrics)) {
    Object.keys(series).forEach(name => voices.add(name));
  }
  const extra = [...voices].filter(name => !order.includes(name));
  extra.sort((a, b) => a.length - b.length || a.localeCompare(b));
  return [...order.filter(name => voices.has(name)), ...extra, ...order.filter(name => !voices.has(name))];
}

export function replicaName(replica: { role: string; index: number }): string {
  return `${replica.role}-${replica.index}`;
}

/** The metrics to plot; progress has a bar of its own. */
export function plotted(view: Pick<JobView, 'metrics'>): [string, JobView['metrics'][string]][] {
  return Object.entries(view.metrics).filter(
    ([name, series]) => name !== 'progress' && Object.values(series).some(points => points.length)
  );
}

/** Seconds that a job has run, or waited when it has not started. */
export function elapsed(view: JobView, now: number): number | null {
  const begin = view.status.started ?? view.status.created;
  return begin === null ? null : (view.status.finished ?? now) - begin;
}

/** The replicas of one role, by index, and how many are in which phase. */
export interface Role {
  role: string;
  members: Replica[];
  counts: [string, number][];
}

export function replicaRoles(replicas: readonly Replica[]): Role[] {
  const roles = new Map<string, Replica[]>();
  for (const one of replicas) {
    roles.set(one.role, [...(roles.get(one.role) ?? []), one]);
  }
  return [...roles].map(([role, members]) => {
    const counts = new Map<string, number>();
    members.forEach(({ phase }) => counts.set(phase, (counts.get(phase) ?? 0) + 1));
    return {
      role,
      members: [...members].sort((a, b) => a.index - b.index),
      counts: [...counts]
    };
  });
}
