/** The list of studies: where each stands, and the best that it has found so far. */

import * as React from 'react';

import { age, number } from '../format';
import { SIGNS } from '../model';
import { CommandIDs } from '../tokens';
import type { StudiesFrame, StudyRow } from '../wire';
import { useKubeflow, useNow, useStanding } from './context';
import { Empty, Facts, phaseClass } from './parts';
import { phaseWord } from './words';

const ENDED = ['Succeeded', 'Failed'];

export function StudyList(): React.JSX.Element {
  const { client, trans } = useKubeflow();
  const standing = useStanding(client);
  const [state, setState] = React.useState<StudiesFrame | null>(null);
  const [open, setOpen] = React.useState('');
  React.useEffect(() => {
    const watch = client.studies(setState);
    return () => watch.dispose();
  }, [client]);
  const rows = state?.rows ?? [];
  const now = useNow(rows.length > 0);
  const stale = standing.state !== 'live' && standing.state !== 'connecting';
  if (!rows.length) {
    return <Nothing state={state} />;
  }
  return (
    <div className={`kfx kfx-Studies${stale ? ' kfx-stale' : ''}`}>
      <ul className="kfx-Studies-list" aria-label={trans.__('Studies')}>
        {rows.map(row => (
          <Study key={row.uid} row={row} now={now} open={open === row.uid} onToggle={() => setOpen(open === row.uid ? '' : row.uid)} />
        ))}
      </ul>
      {state && state.total > rows.length && <p className="kfx-Note">{trans.__('The newest %1 of %2.', rows.length, state.total)}</p>}
    </div>
  );
}

function Study({ row, now, open, onToggle }: { row: StudyRow; now: number; open: boolean; onToggle: () => void }): React.JSX.Element {
  const { trans } = useKubeflow();
  const when = age(now - (row.finished ?? row.created));
  const trials = row.budget ? trans.__('%1/%2 trials', row.done, row.budget) : trans._n('%1 trial', '%1 trials', row.done);
  const detail = [
    trials,
    row.running ? trans.__('%1 running', row.running) : '',
    row.failed ? trans.__('%1 failed', row.failed) : '',
    row.best === null ? '' : trans.__('best %1 %2', row.objective, number(row.best))
  ];
  const part = row.budget ? Math.min(1, row.done / row.budget) : 0;
  return (
    <li className={`kfx-Study ${phaseClass(row.state)}`} data-name={row.name} data-namespace={row.namespace} data-uid={row.uid} data-state={row.state}>
      <button type="button" className="kfx-Study-head" aria-expanded={open} title={`${row.namespace}/${row.name}`} onClick={onToggle}>
        <span className="kfx-Row-sign" role="img" aria-label={phaseWord(trans, row.state)}>
          {SIGNS[row.state] ?? '○'}
        </span>
        <span className="kfx-Row-main">
          <span className="kfx-Row-name">{row.name}</span>
          <span className="kfx-Row-detail">{detail.filter(Boolean).join(' · ')}</span>
        </span>
        <span className="kfx-Row-age" title={trans.__('%1 ago', when)}>
          {when}
        </span>
      </button>
      {!ENDED.includes(row.state) && row.budget > 0 && (
        <div className="kfx-Bar" role="progressbar" aria-label={trans.__('Trials of %1', row.name)} aria-valuemin={0} aria-valuemax={row.budget} aria-valuenow={row.done}>
          <div style={{ width: `${100 * part}%` }} />
        </div>
      )}
      {open && <Details row={row} />}
    </li>
  );
}

function Details({ row }: { row: StudyRow }): React.JSX.Element {
  const kf = useKubeflow();
  const { trans } = kf;
  const parameters = Object.entries(row.parameters);
  const facts: [string, string][] = [
    [trans.__('State'), phaseWord(trans, row.state)],
    [trans.__('Namespace'), row.namespace],
    [trans.__('Algorithm'), row.algorithm],
    ...parameters
  ];
  return (
    <div className="kfx-Study-more">
      {row.state === 'Failed' && row.message && <p className="kfx-Why">{row.message}</p>}
      <Facts facts={facts} />
      <button type="button" className="kfx-Button" onClick={() => kf.execute(CommandIDs.openStudy, { name: row.name, namespace: row.namespace, uid: row.uid })}>
        {trans.__('Open')}
      </button>{' '}
      <button type="button" className="kfx-Button" onClick={() => kf.execute(CommandIDs.insertStudy, { name: row.name, namespace: row.namespace })}>
        {trans.__('Show in a cell')}
      </button>
    </div>
  );
}

function Nothing({ state }: { state: StudiesFrame | null }): React.JSX.Element {
  const { trans } = useKubeflow();
  if (!state) {
    return <div className="kfx" aria-busy="true" />;
  }
  if (!state.served) {
    return (
      <Empty title={trans.__('No studies on this cluster')}>
        <p>{trans.__('It has no Katib, or your account may not see its Experiments.')}</p>
      </Empty>
    );
  }
  return (
    <Empty title={trans.__('No studies yet')}>
      <p>{trans.__('Search for the best parameters with')}</p>
      <pre className="kfx-Pre">%%kf_tune loss --trials 12</pre>
    </Empty>
  );
}
