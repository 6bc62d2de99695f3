/** The trials of a study as a table of which only the rows in sight exist, and one of them in detail. */

import * as React from 'react';

import { TRIAL } from '../client';
import { clean, duration, number } from '../format';
import { SIGNS } from '../model';
import { sorted, took, trialEnded } from '../study';
import type { Order, StudyState } from '../study';
import { CommandIDs } from '../tokens';
import type { StudyHead, StudyTrial, TrialDetail } from '../wire';
import { useKubeflow, useNow } from './context';
import { Log } from './log';
import { Badge, phaseClass } from './parts';
import { Virtual } from './virtual';
import { phaseWord } from './words';

const HEIGHT = 28;
/** The phase whose sign and colour a trial's state has. */
const PHASES: Record<string, string> = { Created: 'Pending', Killed: 'Suspended', EarlyStopped: 'Suspended', MetricsUnavailable: 'Failed' };

export function phaseOf(state: string): string {
  return PHASES[state] ?? state;
}

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
  /** Whether the cluster can be asked. */
  live: boolean;
}

export function Trials({ state, head, rows, chosen, onChoose, height, live }: TrialsProps): React.JSX.Element {
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
  const template = columns.map(one => one.width).join(' ');
  const onKeyDown = (event: React.KeyboardEvent) => {
    const last = shown.length - 1;
    const moves: Record<string, number> = {
      ArrowDown: Math.min(last, at + 1),
      ArrowUp: Math.max(0, at - 1),
      Home: 0,
      End: last,
      PageDown: Math.min(last, at + 10),
      PageUp: Math.max(0, at - 10)
    };
    const to = moves[event.key];
    const trial = to === undefined ? undefined : shown[to];
    if (trial) {
      event.preventDefault();
      event.stopPropagation();
      onChoose(trial.name);
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
          {shown.length === state.total ? trans._n('%1 trial', '%1 trials', shown.length) : trans.__('%1 of %2 trials', shown.length, state.total)}
        </span>
      </div>
      <div className="kfx-Trials" role="grid" aria-label={trans.__('Trials of %1', head.name)} aria-rowcount={shown.length + 1} aria-colcount={columns.length} data-lm-suppress-shortcuts="">
        <div className="kfx-Trials-all" style={{ minWidth: 100 * columns.length }}>
          <div role="rowgroup" className="kfx-Trials-heads">
            <div role="row" className="kfx-Trials-row kfx-Trials-head" style={{ gridTemplateColumns: template }} aria-rowindex={1}>
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
                    <Row key={one.name} trial={one} best={one.name === head.best} index={index} chosen={one.name === chosen} template={template} now={one.state === 'Running' ? now : 0} onChoose={onChoose} />
                  )
                );
              }}
            />
          </div>
        </div>
      </div>
      {trial && <Detail key={trial.name} trial={trial} head={head} live={live} onClose={() => onChoose('')} />}
    </>
  );
}

interface RowProps {
  trial: StudyTrial;
  best: boolean;
  index: number;
  chosen: boolean;
  template: string;
  now: number;
  onChoose: (trial: string) => void;
}

const Row = React.memo(function Row({ trial, best, index, chosen, template, now, onChoose }: RowProps): React.JSX.Element {
  const { trans } = useKubeflow();
  const phase = phaseOf(trial.state);
  return (
    <div
      role="row"
      className={`kfx-Trials-row ${phaseClass(phase)}${chosen ? ' kfx-active' : ''}`}
      style={{ height: HEIGHT, gridTemplateColumns: template }}
      aria-rowindex={index + 2}
      aria-selected={chosen}
      data-number={trial.number}
      data-state={trial.state}
      title={clean(trial.message) || undefined}
      onClick={() => onChoose(chosen ? '' : trial.name)}
    >
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

/** One trial: what it was given, how it ended, its last lines, its whole log, and what can be made of it. */
function Detail({ trial, head, live, onClose }: { trial: StudyTrial; head: StudyHead; live: boolean; onClose: () => void }): React.JSX.Element {
  const kf = useKubeflow();
  const { client, trans } = kf;
  const [found, setFound] = React.useState<TrialDetail | null>(null);
  const [error, setError] = React.useState('');
  const [whole, setWhole] = React.useState(false);
  const [replica, setReplica] = React.useState('');
  const { name, state } = trial;
  React.useEffect(() => {
    let here = live;
    if (live) {
      client.trial(head.namespace, name).then(
        detail => {
          if (here) {
            setFound(detail);
            setError('');
          }
        },
        (reason: unknown) => {
          if (here) {
            setError(reason instanceof Error ? reason.message : String(reason));
          }
        }
      );
    }
    return () => {
      here = false;
    };
  }, [client, head.namespace, name, state, live]);
  const key = { namespace: head.namespace, name: head.name, uid: head.uid, trial: name };
  const told: [string, string][] = found ? Object.entries(found.parameters) : head.parameters.map((one, n) => [one.name, trial.values[n] ?? '']);
  const facts: [string, string][] = [
    ...told,
    ...(found && found.exit_code !== null ? [[trans.__('Exit code'), String(found.exit_code)] as [string, string]] : [])
  ];
  return (
    <section className={`kfx-Trial ${phaseClass(phaseOf(state))}`} aria-label={trans.__('Trial %1', trial.number)}>
      <div className="kfx-Head">
        <h2 className="kfx-Name">{trans.__('Trial %1', trial.number)}</h2>
        <Badge phase={phaseOf(state)} word={phaseWord(trans, state)} />
        {trial.value !== null && (
          <b>
            {head.objective} {number(trial.value)}
          </b>
        )}
        <span className="kfx-dim">{name}</span>
        <span className="kfx-grow" />
        <span className="kfx-Actions">
          {live && (
            <>
              <button type="button" className="kfx-Button" onClick={() => kf.execute(CommandIDs.insertBest, key)}>
                {trans.__('Parameters into a cell')}
              </button>
              <button type="button" className="kfx-Button" onClick={() => kf.execute(CommandIDs.promoteStudy, key)}>
                {trans.__('Train with these')}
              </button>
              <button type="button" className="kfx-Button" aria-expanded={whole} onClick={() => setWhole(!whole)}>
                {trans.__('Log')}
              </button>
            </>
          )}
          <button type="button" className="kfx-Icon" aria-label={trans.__('Close trial %1', trial.number)} title={trans.__('Close')} onClick={onClose}>
            ✕
          </button>
        </span>
      </div>
      {trialEnded(trial) && trial.message && (
        <div className="kfx-Why" role="note">
          <p>
            <b>{clean(trial.message)}</b>
          </p>
        </div>
      )}
      <dl className="kfx-Facts">
        {facts.map(([fact, said]) => (
          <React.Fragment key={fact}>
            <dt>{fact}</dt>
            <dd>{said}</dd>
          </React.Fragment>
        ))}
      </dl>
      {error && <p className="kfx-Note">{error}</p>}
      {whole ? (
        <div className="kfx-Trial-log">
          <Log jobKey={{ kind: TRIAL, namespace: head.namespace, name, uid: '' }} view={null} replica={replica} onReplica={setReplica} />
        </div>
      ) : (
        found &&
        found.tail.length > 0 && (
          <>
            <h3 className="kfx-H">{trans.__('Last lines')}</h3>
            <pre className="kfx-Pre" tabIndex={0}>
              {found.tail.map((line, n) => (
                <span key={n} className={state === 'Failed' && n === found.tail.length - 1 ? 'kfx-Pre-error' : undefined}>
                  {clean(line)}
                  {'\n'}
                </span>
              ))}
            </pre>
          </>
        )
      )}
    </section>
  );
}
