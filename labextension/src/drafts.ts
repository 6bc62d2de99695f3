/** The graph of an endpoint while it is edited, as pure functions: a draft and a wish to the draft as it would be. */

import type { GraphDraft, GraphUnit, KeptPart, VersionView, Workshop } from './wire';

export const SEVERAL: readonly string[] = ['ROUTER', 'COMBINER'];

/** Whether a unit can have any number of branches. */
export function branches(unit: GraphDraft): boolean {
  return SEVERAL.includes(unit.type);
}

/** A unit and all below it, each before what it leads to. */
export function walk(unit: GraphDraft): GraphDraft[] {
  return [unit, ...unit.children.flatMap(walk)];
}

export function unitOf(root: GraphDraft, id: string): GraphDraft | null {
  return walk(root).find(one => one.id === id) ?? null;
}

export function parentOf(root: GraphDraft, id: string): GraphDraft | null {
  return walk(root).find(one => one.children.some(child => child.id === id)) ?? null;
}

/** An id that no unit has. */
function fresh(root: GraphDraft, more = 0): string {
  const taken = new Set(walk(root).map(one => one.id));
  let n = taken.size + more;
  while (taken.has(`n${n}`)) {
    n += 1;
  }
  return `n${n}`;
}

/** The draft with another unit in the place of one; with nothing there it goes, and what was above it is told. */
function swapped(root: GraphDraft, id: string, made: (unit: GraphDraft) => GraphDraft): GraphDraft {
  if (root.id === id) {
    return made(root);
  }
  return { ...root, children: root.children.map(one => swapped(one, id, made)) };
}

export function changed(root: GraphDraft, id: string, change: Partial<GraphDraft>): GraphDraft {
  return swapped(root, id, unit => ({ ...unit, ...change }));
}

/** A unit of a kept model, with an id of its own. */
function made(root: GraphDraft, part: KeptPart, more = 0): GraphDraft {
  return { id: fresh(root, more), name: '', type: part.type, by: '', settings: {}, model: part.model, unit: part.unit, called: part.called, kept: true, children: [] };
}

/** A router or combiner above a unit, with the unit as its first branch and a model as its second. */
export function wrapped(root: GraphDraft, id: string, type: 'ROUTER' | 'COMBINER', by: string, other: KeptPart | null): GraphDraft {
  const above = fresh(root);
  return swapped(root, id, unit => ({
    id: above,
    name: '',
    type,
    by,
    settings: {},
    model: '',
    unit: '',
    called: '',
    kept: true,
    children: other ? [unit, made(root, other, 1)] : [unit]
  }));
}

/** A model as one more branch. */
export function added(root: GraphDraft, id: string, part: KeptPart): GraphDraft {
  return swapped(root, id, unit => fitted(unit, { ...unit, children: [...unit.children, made(root, part)] }));
}

/** Another model in the place of a unit; what the unit led to stays below it. */
export function replaced(root: GraphDraft, id: string, part: KeptPart): GraphDraft {
  return swapped(root, id, unit => ({ ...made(root, part), id: unit.id, children: unit.children }));
}

/** A model before a unit: it gets the requests first, and passes on what it makes of them. */
export function before(root: GraphDraft, id: string, part: KeptPart): GraphDraft {
  return swapped(root, id, unit => ({ ...made(root, part), children: [unit] }));
}

/**
 * The draft without a unit: what it led to takes its place (of several branches the first). A router or combiner that is
 * left with one branch goes, too. Null where nothing would be left.
 */
export function without(root: GraphDraft, id: string): GraphDraft | null {
  if (root.id === id) {
    return root.children[0] ?? null;
  }
  const children = root.children.map(one => without(one, id)).filter((one): one is GraphDraft => one !== null);
  const [only] = children;
  if (branches(root) && only && children.length === 1 && root.children.length > 1) {
    return only;
  }
  return children.every((one, n) => one === root.children[n]) && children.length === root.children.length ? root : fitted(root, { ...root, children });
}

/** The weights of branches follow their number: what came has 1. */
function fitted(was: GraphDraft, unit: GraphDraft): GraphDraft {
  const { weights } = unit.settings;
  if (!Array.isArray(weights) || was.children.length === unit.children.length) {
    return unit;
  }
  const known = new Map(was.children.map((one, n) => [one.id, weights[n] as unknown]));
  return { ...unit, settings: { ...unit.settings, weights: unit.children.map(one => known.get(one.id) ?? 1) } };
}

/** Where a unit can be moved to: into a router or combiner as a branch, or to the place of another unit, which comes to its own. */
export interface Place {
  id: string;
  how: 'into' | 'exchange';
}

export function placesFor(root: GraphDraft, id: string): Place[] {
  const unit = unitOf(root, id);
  if (!unit || root.id === id) {
    return [];
  }
  const parent = parentOf(root, id);
  const below = new Set(walk(unit).map(one => one.id));
  const found: Place[] = [];
  for (const one of walk(root)) {
    if (below.has(one.id)) {
      continue;
    }
    if (branches(one)) {
      if (one.id !== parent?.id) {
        found.push({ id: one.id, how: 'into' });
      }
    } else if (!walk(one).some(inner => inner.id === id)) {
      found.push({ id: one.id, how: 'exchange' });
    }
  }
  return found;
}

/** A unit with what it leads to, moved; the draft as it is where it cannot be. */
export function moved(root: GraphDraft, id: string, to: string): GraphDraft {
  const unit = unitOf(root, id);
  const place = placesFor(root, id).find(one => one.id === to);
  if (!unit || !place) {
    return root;
  }
  if (place.how === 'exchange') {
    const other = unitOf(root, to);
    return other ? exchanged(root, unit, other) : root;
  }
  return swapped(pruned(root, id, to), to, one => fitted(one, { ...one, children: [...one.children, unit] }));
}

/** The draft without a unit and all below it. A router that is left with one branch goes, but for the one to `keep`. */
function pruned(unit: GraphDraft, id: string, keep: string): GraphDraft {
  const left = unit.children.filter(one => one.id !== id);
  if (left.length === unit.children.length) {
    return { ...unit, children: left.map(one => pruned(one, id, keep)) };
  }
  const [only] = left;
  return branches(unit) && only && left.length === 1 && unit.id !== keep ? only : fitted(unit, { ...unit, children: left });
}

function exchanged(root: GraphDraft, one: GraphDraft, other: GraphDraft): GraphDraft {
  const turn = (unit: GraphDraft): GraphDraft => {
    if (unit.id === one.id) {
      return other;
    }
    return unit.id === other.id ? one : { ...unit, children: unit.children.map(turn) };
  };
  return turn(root);
}

/** A branch earlier or later among its brothers. */
export function shifted(root: GraphDraft, id: string, by: -1 | 1): GraphDraft {
  const parent = parentOf(root, id);
  const from = parent?.children.findIndex(one => one.id === id) ?? -1;
  const to = from + by;
  if (!parent || from < 0 || to < 0 || to >= parent.children.length) {
    return root;
  }
  const turned = <T>(values: readonly T[]): T[] => {
    const next = [...values];
    const [value] = next.splice(from, 1);
    next.splice(to, 0, value as T);
    return next;
  };
  const { weights } = parent.settings;
  const settings = Array.isArray(weights) ? { ...parent.settings, weights: turned(weights) } : parent.settings;
  return changed(root, parent.id, { children: turned(parent.children), settings });
}

/** A setting of a unit; an empty text takes it away. */
export function set(root: GraphDraft, id: string, name: string, value: unknown): GraphDraft {
  return swapped(root, id, unit => {
    const settings = Object.fromEntries(Object.entries({ ...unit.settings, [name]: value }).filter(([, one]) => one !== ''));
    return { ...unit, settings };
  });
}

/** What chooses or combines; settings that the other one has, too, stay. */
export function chosen(root: GraphDraft, id: string, by: string, known: readonly string[]): GraphDraft {
  return swapped(root, id, unit => {
    const settings = Object.fromEntries(Object.entries(unit.settings).filter(([name]) => known.includes(name)));
    return { ...unit, by, settings, model: '', unit: '', called: '' };
  });
}

/** What a unit is called where there is little place. */
export function titleOf(unit: GraphDraft): string {
  return unit.by || unit.name || unit.called;
}

export function nameOf(root: GraphDraft, id: string): string {
  const unit = unitOf(root, id);
  return unit ? titleOf(unit) : '';
}

/** A draft as a version, to be drawn as all graphs are; `id` of each unit is found again by its place. */
export function asVersion(root: GraphDraft): VersionView {
  const unit = (one: GraphDraft): GraphUnit => ({ name: titleOf(one), type: one.type, children: one.children.map(unit) });
  return {
    name: '', state: 'Ready', traffic: 100, mirror: null, wanted: 1, ready: 1, graph: '', called: '', kind: '', model: '', code: '', explanation: null, asleep: false, units: unit(root), width: 0, example: '', scaling: null, awake: ''
  };
}

/** The ids of a draft's units by the places that a drawing gives them. */
export function idsByPlace(root: GraphDraft): Map<string, string> {
  const found = new Map<string, string>();
  const visit = (unit: GraphDraft, place: string) => {
    found.set(place, unit.id);
    unit.children.forEach((one, n) => visit(one, `${place}/${n}`));
  };
  visit(root, '');
  return found;
}

/** The branches of a router or combiner, with the weight of each in percent or in parts, where it has such. */
export function weightsOf(unit: GraphDraft): number[] | null {
  if (unit.by === 'random' && unit.children.length === 2) {
    const share = typeof unit.settings.share === 'number' ? unit.settings.share : 50;
    return [100 - share, share];
  }
  if (unit.by === 'mean') {
    const { weights } = unit.settings;
    return unit.children.map((_, n) => (Array.isArray(weights) && typeof weights[n] === 'number' ? weights[n] : 1));
  }
  return null;
}

export function weighted(root: GraphDraft, id: string, branch: number, value: number): GraphDraft {
  const unit = unitOf(root, id);
  const weights = unit && weightsOf(unit);
  if (!unit || !weights) {
    return root;
  }
  if (unit.by === 'random') {
    const bound = Math.max(0, Math.min(100, value));
    return set(root, id, 'share', branch === 1 ? bound : 100 - bound);
  }
  return set(root, id, 'weights', weights.map((one, n) => (n === branch ? value : one)));
}

/** The settings that a router or combiner can be told one by one: not its weights, which have a place of their own. */
export function settingsOf(unit: GraphDraft, workshop: Workshop): string[] {
  const known = { ...workshop.routers, ...workshop.combiners }[unit.by] ?? [];
  return known.filter(name => !['share', 'weights', 'verbose', 'history', 'best_branch'].includes(name));
}
