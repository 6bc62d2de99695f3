/** A study: what a cell shows of it, and the view in the main area, of the same parts. */

import * as React from 'react';

import { duration, number } from '../format';
import { axesOf, bestOf, low, placesOf, recorded as stateOf, sameAxes, studyEnded, within } from '../study';
import type { Axis, Brush, StudyState } from '../study';
import { CommandIDs } from '../tokens';
import type { IKubeflow } from '../tokens';
import type { StudyHead, StudyKey, StudyRecord } from '../wire';
import { useKubeflow, useNow } from './context';
import { Badge, phaseClass } from './parts';
import { StudyActions } from './studyactions';
import { Gantt } from './studygantt';
import { Parallel } from './studyparallel';
import { Curves, History, Importance, Slices } from './studyplots';
import { Trials } from './studytrials';

export type StudyPage = 'overview' | 'parallel' | 'slices' | 'timeline' | 'trials';

const NO_BRUSH: Brush = {};
/** Trials up to which plots follow each change; of more they follow after a quarter of a millisecond for each. */
const FEW_TRIALS = 200;
const LONGEST = 2500;
/** Heights in a cell, and in the main area. */
const SMALL = { plot: 150, slice: 130, parallel: 260, table: 300 };
const LARGE = { plot: 240, slice: 170, parallel: 400, table: 520 };

/** A study that follows the cluster; not followed while `key` is null. */
export function useStudy(kf: IKubeflow, key: StudyKey | null, known: StudyState): { state: StudyState; heard: boolean } {
  const [found, set] = React.useState<StudyState | null>(null);
  const text = key && [key.namespace, key.name, key.uid].join('/');
  const begin = React.useRef(key);
  begin.current = key;
  React.useEffect(() => {
    set(null);
    const now = begin.current;
    if (!now) {
      return;
    }
    const watch = kf.client.study(now, set);
    return () => watch.dispose();
  }, [kf, text]);
  // Until all of it has come, what is known already is more.
  const complete = found?.head && found.trials.length >= found.total;
  const state = complete ? found : { ...known, gone: found?.gone ?? false, error: found?.error ?? '' };
  return { state, heard: Boolean(complete) };
}

/** A recorded study that becomes live where the cluster can be asked. */
export default function StudyCard({ recorded }: { recorded: StudyRecord }): React.JSX.Element {
  const kf = useKubeflow();
  const { trans } = kf;
  const { namespace, name, uid } = recorded.head;
  const known = React.useMemo(() => stateOf(recorded), [recorded]);
  const { state, heard } = useStudy(kf, { namespace, name, uid }, known);
  const head = state.head ?? recorded.head;
  return (
    <div className={`kfx kfx-Card kfx-StudyView ${phaseClass(head.state)}`} role="group" aria-label={trans.__('Study %1', name)}>
      <Body state={state} head={head} live={heard && !state.gone} small />
      {state.gone && <p className="kfx-Note">{trans.__('This study is not on the cluster any more; this is its last recorded state.')}</p>}
      {!heard && state.trials.length < state.total && (
        <p className="kfx-Note">{trans.__('%1 of its %2 trials are kept in the notebook.', state.trials.length, state.total)}</p>
      )}
    </div>
  );
}

/** What was given, taken over again at the earliest after so many milliseconds. */
function useSteady<T>(given: T, pace: number): T {
  const held = React.useRef({ given, at: 0 });
  const latest = React.useRef(given);
  const [, turn] = React.useState(0);
  latest.current = given;
  if (!pace) {
    held.current.given = given;
  }
  const shown = held.current.given;
  React.useEffect(() => {
    if (!pace || shown === given) {
      return;
    }
    const timer = window.setTimeout(() => {
      held.current = { given: latest.current, at: performance.now() };
      turn(before => before + 1);
    }, Math.max(0, held.current.at + pace - performance.now()));
    return () => window.clearTimeout(timer);
  }, [given, shown, pace]);
  return shown;
}

interface BodyProps {
  state: StudyState;
  head: StudyHead;
  /** Whether the cluster can be asked and told. */
  live: boolean;
  small?: boolean;
  page?: StudyPage;
  onPage?: (page: StudyPage) => void;
}

/** The head of a study and its pages. */
export function Body({ state, head, live, small, page: begun, onPage }: BodyProps): React.JSX.Element {
  const { trans } = useKubeflow();
  const id = React.useId();
  const [page, setPage] = React.useState<StudyPage>(begun ?? 'overview');
  const [brush, setBrush] = React.useState<Brush>(NO_BRUSH);
  const [chosen, setChosen] = React.useState('');
  const [compared, setCompared] = React.useState<readonly string[]>([]);
  const sizes = small ? SMALL : LARGE;
  const { trials } = state;
  const { parameters, objective } = head;
  // A head comes with each change; what is searched stays.
  const searched = React.useRef(head);
  if (JSON.stringify([searched.current.parameters, searched.current.objective]) !== JSON.stringify([parameters, objective])) {
    searched.current = head;
  }
  // What is drawn of very many trials is drawn anew after a while, and not with each of ten changes a second.
  const calm = useSteady(state, trials.length > FEW_TRIALS ? Math.min(LONGEST, trials.length / 4) : 0);
  const known = React.useRef<Axis[]>([]);
  const axes = React.useMemo(() => (known.current = sameAxes(known.current, axesOf(searched.current, trials))), [trials]);
  const rows = React.useMemo(() => {
    if (!Object.keys(brush).length) {
      return trials;
    }
    return within(axes, placesOf(axes, trials), brush).flatMap(row => trials[row] ?? []);
  }, [axes, trials, brush]);
  const turn = (next: StudyPage) => {
    setPage(next);
    onPage?.(next);
  };
  const pick = (trial: string) => {
    setChosen(trial);
    turn('trials');
  };
  const tabs: [StudyPage, string][] = [
    ['overview', trans.__('Overview')],
    ['parallel', trans.__('Parallel coordinates')],
    ['slices', trans.__('Parameters')],
    ['timeline', trans.__('Timeline')],
    ['trials', trans.__('Trials')]
  ];
  const onKeyDown = (event: React.KeyboardEvent) => {
    const place = tabs.findIndex(([one]) => one === page);
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const next = by ? tabs[(place + by + tabs.length) % tabs.length] : undefined;
    if (next) {
      event.preventDefault();
      event.stopPropagation();
      turn(next[0]);
      event.currentTarget.querySelector<HTMLElement>(`[data-tab=${next[0]}]`)?.focus();
    }
  };
  const cleared = Object.keys(brush).length > 0 && (
    <p className="kfx-Brushed">
      <span role="status">{trans.__('%1 of %2 trials are within the ranges', rows.length, trials.length)}</span>{' '}
      <button type="button" className="kfx-Button" onClick={() => setBrush(NO_BRUSH)}>
        {trans.__('Clear the ranges')}
      </button>
    </p>
  );
  return (
    <>
      <Head head={head} state={state} live={live} small={small ?? false} />
      <div className="kfx-Tabs" role="tablist" aria-label={trans.__('Pages of the study')} onKeyDown={onKeyDown}>
        {tabs.map(([one, label]) => (
          <button key={one} type="button" role="tab" id={`${id}-${one}`} data-tab={one} aria-selected={page === one} aria-controls={`${id}-page`} tabIndex={page === one ? 0 : -1} className={page === one ? 'kfx-on' : ''} onClick={() => turn(one)}>
            {label}
          </button>
        ))}
      </div>
      <div className="kfx-Study-page" role="tabpanel" id={`${id}-page`} aria-labelledby={`${id}-${page}`} tabIndex={0}>
        {page === 'overview' && (
          <div className="kfx-Study-overview">
            <div className="kfx-Study-plots">
              {trials.some(one => one.value !== null) ? (
                <History state={calm} height={sizes.plot} onPick={pick} />
              ) : (
                <p className="kfx-Note">{trans.__('No trial has a value yet.')}</p>
              )}
              <Curves state={calm} height={sizes.plot} />
            </div>
            <Importance head={head} />
          </div>
        )}
        {page === 'parallel' && (
          <>
            <Parallel axes={axes} trials={calm.trials} smaller={low(head)} brush={brush} onBrush={setBrush} chosen={chosen} height={sizes.parallel} />
            {cleared}
            <Trials state={state} head={head} rows={rows} chosen={chosen} onChoose={setChosen} height={sizes.table / 2} compared={compared} onCompare={setCompared} live={live} />
          </>
        )}
        {page === 'slices' && (
          <>
            <Importance head={head} />
            <Slices state={calm} height={sizes.slice} onPick={pick} />
          </>
        )}
        {page === 'trials' && (
          <>
            {cleared}
            <Trials state={state} head={head} rows={rows} chosen={chosen} onChoose={setChosen} height={sizes.table} compared={compared} onCompare={setCompared} live={live} />
          </>
        )}
        {page === 'timeline' && (
          <>
            {cleared}
            <Gantt state={state} head={head} rows={rows} chosen={chosen} onChoose={setChosen} height={sizes.table} live={live} />
          </>
        )}
      </div>
    </>
  );
}

/** Where it stands, how long it will take, why it failed, and the best so far. */
function Head({ head, state, live, small }: { head: StudyHead; state: StudyState; live: boolean; small: boolean }): React.JSX.Element {
  const kf = useKubeflow();
  const { trans } = kf;
  const over = studyEnded(head);
  const best = bestOf(state);
  const key = { namespace: head.namespace, name: head.name, uid: head.uid };
  const counts = [
    head.budget ? trans.__('%1 of %2 trials', head.done, head.budget) : trans._n('%1 trial', '%1 trials', head.done),
    head.running ? trans.__('%1 running', head.running) : '',
    head.failed ? trans.__('%1 failed', head.failed) : ''
  ];
  const part = head.budget ? Math.min(1, head.done / head.budget) : 0;
  const Title = small ? 'span' : 'h1';
  return (
    <>
      <div className="kfx-Head">
        <Title className="kfx-Name">{head.name}</Title>
        <Badge phase={head.state} />
        <span className="kfx-dim">{[...counts.filter(Boolean), head.algorithm, head.namespace].join(' · ')}</span>
        <Clock head={head} />
        <span className="kfx-Actions">
          {small && live && (
            <button type="button" className="kfx-Button" onClick={() => kf.execute(CommandIDs.openStudy, key)}>
              {trans.__('Open')}
            </button>
          )}
          {live && <StudyActions head={head} best={best !== null} />}
        </span>
      </div>
      {!over && head.budget > 0 && (
        <div className={`kfx-Bar ${phaseClass(head.state)}`} role="progressbar" aria-label={trans.__('Trials of %1', head.name)} aria-valuemin={0} aria-valuemax={head.budget} aria-valuenow={head.done}>
          <div style={{ width: `${100 * part}%` }} />
        </div>
      )}
      {over && head.message && (head.state === 'Failed' ? <Reason text={head.message} /> : <p className="kfx-Note">{head.message}</p>)}
      {best && (
        <div className="kfx-Best">
          <span>
            {trans.__('Best so far: %1', head.objective)} <b>{number(best.value)}</b>{' '}
            <span className="kfx-dim">{trans.__('in trial %1', best.number)}</span>
          </span>
          <dl className="kfx-Parts">
            {head.parameters.map((one, n) => (
              <div key={one.name}>
                <dt>{one.name}</dt>
                <dd>{best.values[n]}</dd>
              </div>
            ))}
          </dl>
        </div>
      )}
    </>
  );
}

function Reason({ text }: { text: string }): React.JSX.Element {
  return (
    <div className="kfx-Why" role="note">
      <p>
        <b>{text}</b>
      </p>
    </div>
  );
}

/** How long it ran, and about how long it will. */
function Clock({ head }: { head: StudyHead }): React.JSX.Element | null {
  const { trans } = useKubeflow();
  const moving = !studyEnded(head);
  const now = useNow(moving);
  if (!head.created) {
    return null;
  }
  const seen = Math.max(now, head.seen);
  const ran = duration((moving ? seen : (head.finished ?? head.seen)) - head.created);
  if (!moving) {
    return <span className="kfx-Time">{trans.__('took %1', ran)}</span>;
  }
  if (head.eta === null) {
    return <span className="kfx-Time">{ran}</span>;
  }
  return <span className="kfx-Time">{trans.__('%1 · about %2 left', ran, duration(Math.max(0, head.eta - (seen - head.seen))))}</span>;
}
