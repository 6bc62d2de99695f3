/** One trial in detail: what it was given, how it ended and why, its last lines, its events, and what can be done. */

import * as React from 'react';

import { TRIAL } from '../client';
import { clean, clock, number } from '../format';
import { trialEnded } from '../study';
import { CommandIDs } from '../tokens';
import type { StudyHead, StudyTrial, TrialDetail } from '../wire';
import { useKubeflow } from './context';
import { EventTable } from './events';
import { Log } from './log';
import { Badge, Facts, phaseClass } from './parts';
import { phaseOf } from './trialmarks';
import { phaseWord } from './words';

/** Milliseconds between two looks at what changes without the trial. */
const AGAIN = 2500;
/** And at least so long between two looks of one trial. */
const BETWEEN = 800;

export function TrialView({ trial, head, live, onClose }: { trial: StudyTrial; head: StudyHead; live: boolean; onClose: () => void }): React.JSX.Element {
  const kf = useKubeflow();
  const { client, trans } = kf;
  const [found, setFound] = React.useState<TrialDetail | null>(null);
  const [error, setError] = React.useState('');
  const [whole, setWhole] = React.useState(false);
  const [history, setHistory] = React.useState(false);
  const [look, setLook] = React.useState(0);
  const [replica, setReplica] = React.useState('');
  const { name, state } = trial;
  /** When it was asked for last, how often it was, and which answer is shown. */
  const asked = React.useRef({ at: 0, count: 0, shown: 0 });
  React.useEffect(() => {
    if (!live) {
      return;
    }
    const { current } = asked;
    // A trial that reports is another one with each value: its lines are read with it, but not with each of many.
    const wait = Math.max(0, current.at + BETWEEN - Date.now());
    const timer = window.setTimeout(() => {
      const count = ++current.count;
      current.at = Date.now();
      const newest = () => count > current.shown && (current.shown = count) > 0;
      client.trial(head.namespace, name).then(
        detail => {
          if (newest()) {
            setFound(detail);
            setError('');
          }
        },
        (reason: unknown) => newest() && setError(reason instanceof Error ? reason.message : String(reason))
      );
    }, wait);
    return () => window.clearTimeout(timer);
  }, [client, head.namespace, name, state, trial.value, live, look]);
  const moving = live && !trialEnded(trial);
  React.useEffect(() => {
    // Why one waits, what happens to it and what else it prints come without the trial being changed.
    if (!moving) {
      return;
    }
    const timer = window.setInterval(() => setLook(before => before + 1), AGAIN);
    return () => window.clearInterval(timer);
  }, [moving]);
  const why = found?.why || (trialEnded(trial) ? trial.message : '');
  const key = { namespace: head.namespace, name: head.name, uid: head.uid, trial: name };
  const told: [string, string][] = found ? Object.entries(found.parameters) : head.parameters.map((one, n) => [one.name, trial.values[n] ?? '']);
  const facts: [string, string][] = [
    ...told,
    ...(found && found.exit_code !== null ? [[trans.__('Exit code'), String(found.exit_code)] as [string, string]] : []),
    ...(trial.started === null ? [] : [[trans.__('Made'), clock(trial.started)] as [string, string]]),
    ...(trial.finished === null ? [] : [[trans.__('Ended'), clock(trial.finished)] as [string, string]])
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
              <button type="button" className="kfx-Button" aria-expanded={history} onClick={() => setHistory(!history)}>
                {trans.__('Events')}
              </button>
              {!trialEnded(trial) && (
                <button type="button" className="kfx-Button kfx-danger" title={trans.__('End this trial; the study goes on')} onClick={() => kf.execute(CommandIDs.stopTrial, { ...key, number: trial.number })}>
                  ■ {trans.__('Stop')}
                </button>
              )}
            </>
          )}
          <button type="button" className="kfx-Icon" aria-label={trans.__('Close trial %1', trial.number)} title={trans.__('Close')} onClick={onClose}>
            ✕
          </button>
        </span>
      </div>
      {why && (
        <div className="kfx-Why" role="note">
          <p>
            <b>{clean(why)}</b>
          </p>
          {found?.hint && <p>{clean(found.hint)}</p>}
          {found?.why && state === 'Failed' && <p className="kfx-dim">{clean(trial.message)}</p>}
        </div>
      )}
      <Facts facts={facts} />
      {error && <p className="kfx-Note">{error}</p>}
      {history && found && (
        <>
          <h3 className="kfx-H">{trans.__('Events')}</h3>
          {found.events.length ? <EventTable events={found.events} /> : <p className="kfx-Note">{trans.__('No events. Clusters forget them after about an hour.')}</p>}
        </>
      )}
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
