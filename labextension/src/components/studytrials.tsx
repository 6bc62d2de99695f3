/** The trials of a study as a table of which only the rows in sight exist, and one of them in detail. */

import * as React from 'react';

import { clean, duration, number } from '../format';
import { SIGNS } from '../model';
import { bestFew, sorted, took } from '../study';
import type { Order, StudyState } from '../study';
import type { StudyHead, StudyTrial } from '../wire';
import { useKubeflow, useNow } from './context';
import { phaseClass } from './parts';
import { Comparison } from './studycompare';
import { TrialView } from './studytrial';
import { marksOf, phaseOf } from './trialmarks';
import { moved, Virtual } from './virtual';
import { phaseWord } from './words';

const HEIGHT = 28;
/** Trials that can be compared at a time. */
const MOST_COMPARED = 12;
/** Those that one button compares. */
const FEW = 5;

interface Column {
  id: string;
  label: string;
  width: string;
  numeric: boolean;
}

function useColumns(head: StudyHead): Column[] {
  const { trans } = useKubeflow();
  return React.useMemo(
    () => [
      { id: 'number', label: trans.__('Trial'), width: '70px', numeric: true },
      { id: 'state', label: trans.__('State'), width: '120px', numeric: false },
      { id: 'value', label: head.objective, width: 'minmax(90px, 1fr)', numeric: true },
      ...head.parameters.map((one, n) => ({ id: `p${n}`, label: one.name, width: 'minmax(90px, 1fr)', numeric: !one.values.length })),
      ...head.metrics.map((name, n) => ({ id: `m${n}`, label: name, width: 'minmax(90px, 1fr)', numeric: true })),
      { id: 'took', label: trans.__('Took'), width: '80px', numeric: true }
    ],
    [head.objective, head.parameters, head.metrics, trans]
  );
}

export interface TrialsProps {
  state: StudyState;
  head: StudyHead;
  /** The trials that are within the ranges. */
  rows: readonly StudyTrial[];
  chosen: string;
  onChoose: (trial: string) => void;
  height: number;
  /** The trials that are compared, in the order in which they were taken. */
  compared: readonly string[];
  onCompare: (trials: readonly string[]) => void;
  /** Whether the cluster can be asked. */
  live: boolean;
}

export function Trials({ state, head, rows, chosen, onChoose, height, compared, onCompare, live }: TrialsProps): React.JSX.Element {
  const { trans } = useKubeflow();
  const [order, setOrder] = React.useState<Order>({ by: 'number', down: true });
  const [wanted, setWanted] = React.useState('');
  const moving = rows.some(one => one.state === 'Running');
  const now = useNow(moving);
  const columns = useColumns(head);
  // Only the time that trials take moves by itself.
  const clock = order.by === 'took' ? now : 0;
  const shown = React.useMemo(
    () => sorted(wanted ? rows.filter(one => one.state === wanted) : rows, order, clock),
    [rows, wanted, order, clock]
  );
  const states = React.useMemo(() => [...new Set(state.trials.map(one => one.state))].sort(), [state.trials]);
  const at = shown.findIndex(one => one.name === chosen);
  const template = ['28px', ...columns.map(one => one.width)].join(' ');
  const taken = React.useMemo(() => new Set(compared), [compared]);
  // A row is drawn anew only when it changes, so what it calls stays the same.
  const latest = React.useRef({ compared, onCompare });
  latest.current = { compared, onCompare };
  const take = React.useCallback((name: string) => {
    const { compared: now, onCompare: tell } = latest.current;
    if (now.includes(name)) {
      tell(now.filter(one => one !== name));
    } else if (now.length < MOST_COMPARED) {
      tell([...now, name]);
    }
  }, []);
  const [reveal, setReveal] = React.useState(0);
  const lead = () => {
    onCompare(leaders.map(one => one.name));
    setReveal(reveal + 1);
  };
  const beside = React.useMemo(() => {
    const known = new Map(state.trials.map(one => [one.name, one]));
    return compared.flatMap(name => known.get(name) ?? []);
  }, [state.trials, compared]);
  const leaders = React.useMemo(() => (compared.length ? [] : bestFew(head, rows, FEW)), [compared.length, head, rows]);
  const onKeyDown = (event: React.KeyboardEvent) => {
    const to = moved(event.key, at, shown.length);
    const trial = to === undefined ? undefined : shown[to];
    if (trial) {
      event.preventDefault();
      event.stopPropagation();
      onChoose(trial.name);
    } else if (event.key === ' ' && at >= 0) {
      event.preventDefault();
      event.stopPropagation();
      take(chosen);
    } else if (event.key === 'Escape') {
      onChoose('');
    }
  };
  const trial = state.trials.find(one => one.name === chosen);
  return (
    <>
      <div className="kfx-Tools-row">
        <select className="kfx-Select" aria-label={trans.__('State of the trials')} value={wanted} onChange={event => setWanted(event.target.value)}>
          <option value="">{trans.__('All states')}</option>
          {states.map(one => (
            <option key={one} value={one}>
              {phaseWord(trans, one)}
            </option>
          ))}
        </select>
        <span className="kfx-dim" role="status">
          {compared.length > 0 && trans._n('%1 trial is ticked · ', '%1 trials are ticked · ', compared.length)}
          {shown.length === state.total ? trans._n('%1 trial', '%1 trials', shown.length) : trans.__('%1 of %2 trials', shown.length, state.total)}
        </span>
        <span className="kfx-grow" />
        {leaders.length > 1 && (
          <button type="button" className="kfx-Button" onClick={lead} title={trans.__('See the best beside one another; or tick trials, by pointer or with the space key')}>
            {trans.__('Compare the best %1', leaders.length)}
          </button>
        )}
      </div>
      <div className={`kfx-Trials${HEIGHT * shown.length > height ? ' kfx-scrolls' : ''}`} role="grid" aria-label={trans.__('Trials of %1', head.name)} aria-multiselectable="true" aria-rowcount={shown.length + 1} aria-colcount={columns.length + 1} data-lm-suppress-shortcuts="">
        <div className="kfx-Trials-all" style={{ minWidth: 100 * columns.length }}>
          <div role="rowgroup" className="kfx-Trials-heads">
            <div role="row" className="kfx-Trials-row kfx-Trials-head" style={{ gridTemplateColumns: template }} aria-rowindex={1}>
              <div role="columnheader">
                <span className="kfx-sr">{trans.__('Compare')}</span>
              </div>
              {columns.map(one => (
                <div key={one.id} role="columnheader" className={one.numeric ? 'kfx-num' : undefined} aria-sort={order.by === one.id ? (order.down ? 'descending' : 'ascending') : 'none'}>
                  <button type="button" onClick={() => setOrder({ by: one.id, down: order.by === one.id ? !order.down : false })}>
                    {one.label}
                    <span aria-hidden="true">{order.by === one.id ? (order.down ? ' ▾' : ' ▴') : ''}</span>
                  </button>
                </div>
              ))}
            </div>
          </div>
          <div style={{ height: Math.min(height, Math.max(HEIGHT * 3, HEIGHT * shown.length)) }} role="presentation">
            <Virtual
              className="kfx-Trials-rows"
              size={shown.length}
              height={HEIGHT}
              role="rowgroup"
              label={trans.__('Rows of the trials')}
              reveal={at >= 0 ? at : null}
              onKeyDown={onKeyDown}
              render={index => {
                const one = shown[index];
                return (
                  one && (
                    <Row key={one.name} head={head} taken={taken.has(one.name)} full={compared.length >= MOST_COMPARED} onTake={take} trial={one} best={one.name === head.best} index={index} chosen={one.name === chosen} template={template} now={one.state === 'Running' ? now : 0} onChoose={onChoose} />
                  )
                );
              }}
            />
          </div>
        </div>
      </div>
      {trial && <TrialView key={trial.name} trial={trial} head={head} live={live} onClose={() => onChoose('')} />}
      {beside.length > 1 && <Comparison head={head} trials={beside} now={now} height={Math.min(240, height)} reveal={reveal} onRemove={take} onClear={() => onCompare([])} />}
    </>
  );
}

interface RowProps {
  head: StudyHead;
  trial: StudyTrial;
  taken: boolean;
  /** As many are taken as can be compared. */
  full: boolean;
  onTake: (trial: string) => void;
  best: boolean;
  index: number;
  chosen: boolean;
  template: string;
  now: number;
  onChoose: (trial: string) => void;
}

const Row = React.memo(function Row({ head, trial, taken, full, onTake, best, index, chosen, template, now, onChoose }: RowProps): React.JSX.Element {
  const { trans } = useKubeflow();
  const phase = phaseOf(trial.state);
  return (
    <div
      role="row"
      className={`kfx-Trials-row kfx-TrialRow ${phaseClass(phase)}${chosen ? ' kfx-active' : ''}`}
      style={{ height: HEIGHT, gridTemplateColumns: template }}
      aria-rowindex={index + 2}
      aria-selected={chosen}
      {...marksOf(head, trial)}
      title={clean(trial.message) || undefined}
      onClick={event => (event.ctrlKey || event.metaKey ? onTake(trial.name) : onChoose(chosen ? '' : trial.name))}
    >
      <div role="gridcell" className="kfx-Trials-take" onClick={event => event.stopPropagation()}>
        <input type="checkbox" tabIndex={-1} checked={taken} disabled={full && !taken} aria-label={trans.__('Compare trial %1', trial.number)} onChange={() => onTake(trial.name)} />
      </div>
      <div role="gridcell" className="kfx-num">
        {best && (
          <span role="img" aria-label={trans.__('the best')}>
            ★{' '}
          </span>
        )}
        {trial.number}
      </div>
      <div role="gridcell">
        <span className="kfx-Sign" aria-hidden="true">
          {SIGNS[phase] ?? '○'}
        </span>{' '}
        {phaseWord(trans, trial.state)}
      </div>
      <div role="gridcell" className="kfx-num">
        {trial.value === null ? '' : number(trial.value)}
      </div>
      {trial.values.map((said, n) => (
        <div key={n} role="gridcell" className={Number.isFinite(Number(said)) ? 'kfx-num' : undefined}>
          {said !== '' && Number.isFinite(Number(said)) ? number(Number(said)) : said}
        </div>
      ))}
      {trial.metrics.map((value, n) => (
        <div key={n} role="gridcell" className="kfx-num">
          {value === null ? '' : number(value)}
        </div>
      ))}
      <div role="gridcell" className="kfx-num">
        {duration(took(trial, now))}
      </div>
    </div>
  );
});
