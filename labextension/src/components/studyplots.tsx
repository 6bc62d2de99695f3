/** A study's plots: its course, the learning curves, each parameter against the objective, and what matters. */

import * as React from 'react';

import { MOST_SERIES } from '../plotting';
import type { Series, Table } from '../plotting';
import { bestOf, history, low } from '../study';
import type { StudyState } from '../study';
import type { StudyHead, StudyParameter, StudyTrial } from '../wire';
import { useKubeflow } from './context';
import { Figure, Lines } from './plot';

const NONE: ReadonlySet<string> = new Set();
/** Learning curves that are drawn: those that run, the best, the newest. */
const MOST_CURVES = 12;

interface PlotsProps {
  state: StudyState;
  height: number;
  onPick: (trial: string) => void;
}

/** Every trial's value as a dot, and the best so far as a line. */
export function History({ state, height, onPick }: PlotsProps): React.JSX.Element | null {
  const { trans } = useKubeflow();
  const group = React.useId();
  const { head, trials } = state;
  const made = React.useMemo(() => head && history(trials, low(head)), [head, trials]);
  const best = trans.__('best so far');
  const series = React.useMemo<Series[]>(
    () => [
      { name: head?.objective ?? '', points: [], index: 1, drawn: 'dots' },
      { name: best, points: [], index: 0, drawn: 'steps' }
    ],
    [head?.objective, best]
  );
  const data = React.useMemo<Table>(
    () => ({ stepped: true, xs: made?.xs ?? [], values: [made?.values ?? [], made?.best ?? []] }),
    [made]
  );
  if (!head || !made?.xs.length) {
    return null;
  }
  return (
    <Figure
      title={trans.__('%1 of each trial, and the best so far', head.objective)}
      series={series}
      data={data}
      hidden={NONE}
      height={height}
      group={group}
      onPick={index => {
        const trial = made.shown[index];
        if (trial) {
          onPick(trial.name);
        }
      }}
    />
  );
}

/** The objective within trials, where they report it more than once. */
export function Curves({ state, height }: { state: StudyState; height: number }): React.JSX.Element | null {
  const { trans } = useKubeflow();
  const { head, trials } = state;
  const best = bestOf(state);
  const series = React.useMemo(() => {
    const having = trials.filter(one => one.curve.length > 1);
    const running = having.filter(one => one.state === 'Running');
    const shown = [...new Set([...(best && best.curve.length > 1 ? [best] : []), ...running, ...having.slice().reverse()])];
    return shown.slice(0, Math.min(MOST_CURVES, MOST_SERIES)).map((one, index): Series => ({
      name: one === best ? trans.__('trial %1 (best)', one.number) : trans.__('trial %1', one.number),
      points: one.curve.map(([step = 0, value = NaN]) => ({ step, value, time: null })),
      index
    }));
  }, [trials, best, trans]);
  return head && series.length ? <Lines title={trans.__('%1 within trials', head.objective)} series={series} height={height} /> : null;
}

/** One plot a parameter: what it was, and what came out. */
export function Slices({ state, height, onPick }: PlotsProps): React.JSX.Element | null {
  const { trans } = useKubeflow();
  const { head, trials } = state;
  const group = React.useId();
  if (!head) {
    return null;
  }
  const order = new Map(head.importance.map((one, n) => [one.name, n]));
  const places = head.parameters.map((_, n) => n);
  // What matters most comes first.
  places.sort((a, b) => (order.get(head.parameters[a]?.name ?? '') ?? 99) - (order.get(head.parameters[b]?.name ?? '') ?? 99) || a - b);
  if (!trials.some(one => one.value !== null)) {
    return <p className="kfx-Note">{trans.__('No trial has a value yet.')}</p>;
  }
  return (
    <div className="kfx-Plots">
      {places.map(n => {
        const parameter = head.parameters[n];
        return (
          parameter && (
            <Slice key={parameter.name} head={head} parameter={parameter} place={n} trials={trials} height={height} group={`${group}${n}`} onPick={onPick} />
          )
        );
      })}
    </div>
  );
}

interface SliceProps {
  head: StudyHead;
  parameter: StudyParameter;
  place: number;
  trials: readonly StudyTrial[];
  height: number;
  group: string;
  onPick: (trial: string) => void;
}

function Slice({ head, parameter, place, trials, height, group, onPick }: SliceProps): React.JSX.Element {
  const { name, values, log } = parameter;
  const { data, rows } = React.useMemo(() => {
    const known = trials
      .filter(one => one.value !== null)
      .map(one => ({ one, x: values.length ? values.indexOf(one.values[place] ?? '') : Number(one.values[place]) }))
      .filter(({ x }) => Number.isFinite(x) && (!values.length || x >= 0) && (!log || x > 0));
    known.sort((a, b) => a.x - b.x);
    const table: Table = { stepped: true, xs: known.map(({ x }) => x), values: [known.map(({ one }) => one.value)] };
    return { data: table, rows: known.map(({ one }) => one.name) };
  }, [trials, values, place, log]);
  const series = React.useMemo<Series[]>(() => [{ name: head.objective, points: [], index: 0, drawn: 'dots' }], [head.objective]);
  return (
    <Figure
      title={name}
      series={series}
      data={data}
      hidden={NONE}
      height={height}
      group={group}
      log={log && !values.length}
      choices={values.length ? values : undefined}
      onPick={index => {
        const trial = rows[index];
        if (trial) {
          onPick(trial);
        }
      }}
    />
  );
}

/** How much each parameter has to do with the best trials: a table whose numbers are drawn as bars. */
export function Importance({ head }: { head: StudyHead }): React.JSX.Element {
  const { trans } = useKubeflow();
  if (!head.importance.length) {
    return <p className="kfx-Note">{trans.__('Which parameters matter is told once ten trials have a value, and where chance alone would not explain it.')}</p>;
  }
  return (
    <table className="kfx-Table kfx-Importance">
      <caption title={trans.__('PED-ANOVA: how far the values of the best tenth of the trials differ from those of all, less what chance would do')}>
        {trans.__('What matters for the best trials')}
      </caption>
      <tbody>
        {head.importance.map(({ name, share }) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td className="kfx-num">{Math.round(100 * share)} %</td>
            <td className="kfx-Importance-bar">
              <div style={{ width: `${100 * share}%` }} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
