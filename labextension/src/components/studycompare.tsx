/** Some trials beside one another: what differs, what came out, and their learning curves over one another. */

import * as React from 'react';

import { duration, number } from '../format';
import type { Series } from '../plotting';
import { bestFew, compared, took } from '../study';
import type { StudyHead, StudyTrial } from '../wire';
import { useKubeflow } from './context';
import { Lines, Look } from './plot';
import { phaseWord } from './words';

export interface ComparisonProps {
  head: StudyHead;
  trials: readonly StudyTrial[];
  now: number;
  height: number;
  /** Counts how often it was asked to come into sight. */
  reveal: number;
  onRemove: (trial: string) => void;
  onClear: () => void;
}

export function Comparison({ head, trials, now, height, reveal, onRemove, onClear }: ComparisonProps): React.JSX.Element {
  const { trans } = useKubeflow();
  const { differ, same } = React.useMemo(() => compared(head, trials), [head, trials]);
  const section = React.useRef<HTMLElement>(null);
  React.useEffect(() => {
    if (reveal) {
      section.current?.scrollIntoView({ block: 'start', behavior: 'smooth' });
    }
  }, [reveal]);
  const best = bestFew(head, trials, 1)[0];
  const series = React.useMemo(
    () =>
      trials.map(
        (one, index): Series => ({
          name: trans.__('trial %1', one.number),
          points: one.curve.map(([step = 0, value = NaN]) => ({ step, value, time: null })),
          index
        })
      ),
    [trials, trans]
  );
  const curves = series.filter(one => one.points.length > 1);
  const value = (said: string) => (said !== '' && Number.isFinite(Number(said)) ? number(Number(said)) : said);
  const results: [string, (string | React.JSX.Element)[]][] = [
    [
      head.objective,
      trials.map(one => (one.value === null ? '' : one === best && trials.length > 1 ? <b key={one.name}>{`★ ${number(one.value)}`}</b> : number(one.value)))
    ],
    ...head.metrics.map((name, n): [string, string[]] => [
      name,
      trials.map(one => {
        const found = one.metrics[n] ?? null;
        return found === null ? '' : number(found);
      })
    ]),
    [trans.__('State'), trials.map(one => phaseWord(trans, one.state))],
    [trans.__('Took'), trials.map(one => duration(took(one, now)))]
  ];
  const rows = (title: string, list: [string, (string | React.JSX.Element)[]][]) => (
    <tbody>
      <tr>
        <th scope="rowgroup" colSpan={trials.length + 1} className="kfx-Compare-part">
          {title}
        </th>
      </tr>
      {list.map(([name, cells]) => (
        <tr key={name}>
          <th scope="row">{name}</th>
          {cells.map((cell, n) => (
            <td key={trials[n]?.name}>{cell}</td>
          ))}
        </tr>
      ))}
    </tbody>
  );
  return (
    <section ref={section} className="kfx-Trial kfx-Compare" aria-label={trans.__('Comparison of %1 trials', trials.length)}>
      <div className="kfx-Head">
        <h2 className="kfx-Name">{trans.__('%1 trials compared', trials.length)}</h2>
        <span className="kfx-grow" />
        <button type="button" className="kfx-Button" onClick={onClear}>
          {trans.__('Compare none')}
        </button>
      </div>
      <div className="kfx-Compare-table" role="region" tabIndex={0} aria-label={trans.__('What differs and what came out')}>
        <table className="kfx-Table">
          <thead>
            <tr>
              <td />
              {trials.map((one, n) => (
                <th key={one.name} scope="col" title={one.name}>
                  <Look index={n} /> {trans.__('Trial %1', one.number)}{' '}
                  <button type="button" className="kfx-Icon" title={trans.__('Leave out')} aria-label={trans.__('Leave out trial %1', one.number)} onClick={() => onRemove(one.name)}>
                    ✕
                  </button>
                </th>
              ))}
            </tr>
          </thead>
          {rows(trans.__('Results'), results)}
          {differ.length > 0 &&
            rows(
              trans.__('Parameters that differ'),
              differ.map(({ name, values }) => [name, values.map(value)])
            )}
        </table>
      </div>
      {same.length > 0 && (
        <p className="kfx-Note">
          {trans.__('The same in all: %1', same.map(one => `${one.name} ${value(one.value)}`).join(', '))}
        </p>
      )}
      {curves.length > 0 ? (
        <Lines title={trans.__('%1 within trials', head.objective)} series={curves} height={height} />
      ) : (
        <p className="kfx-Note">{trans.__('None of these reported %1 more than once: there are no curves.', head.objective)}</p>
      )}
    </section>
  );
}
