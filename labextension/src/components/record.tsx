/** The table of jobs that a cell shows: as it was when the cell ran, and live where the same cluster can be asked. */

import * as React from 'react';

import { QUERY } from '../client';
import { age, duration, moment } from '../format';
import { frameworkTitle, isGroup, keyOf } from '../model';
import { CommandIDs } from '../tokens';
import type { JobRow, JobsRecord } from '../wire';
import { causeWord } from './words';
import { useKubeflow, useNow, useRows, useStanding } from './context';
import { Badge } from './parts';

const MOST = 200;

export function JobTable({ recorded }: { recorded: JobsRecord }): React.JSX.Element {
  const kf = useKubeflow();
  const { client, trans } = kf;
  const { namespace } = recorded;
  const query = React.useMemo(() => ({ ...QUERY, namespace, limit: MOST }), [namespace]);
  const state = useRows(client, query);
  const standing = useStanding(client);
  const live = state.loaded && standing.state === 'live' && standing.cluster === recorded.cluster;
  const rows = live ? state.items.filter((item): item is JobRow => Boolean(item) && !isGroup(item)) : recorded.rows;
  const owned = rows.some(row => row.owner);
  const total = live ? state.matched : recorded.total;
  const now = useNow(live && rows.length > 0);
  const at = live ? now : recorded.seen;
  return (
    <div className="kfx kfx-Record" role="group" aria-label={trans.__('Training jobs')}>
      <div className="kfx-Head">
        <span className="kfx-Name">{trans.__('Training jobs')}</span>
        <span className="kfx-dim">
          {[
            recorded.cluster,
            namespace || trans.__('all namespaces'),
            live ? trans.__('live') : trans.__('as of %1', moment(recorded.seen))
          ].join(' · ')}
        </span>
        <span className="kfx-Actions">
          <button type="button" className="kfx-Button" onClick={() => kf.execute(CommandIDs.panel)}>
            {trans.__('Show the panel')}
          </button>
        </span>
      </div>
      {rows.length === 0 ? (
        <p className="kfx-Note">{trans.__('No training jobs here.')}</p>
      ) : (
        <div className="kfx-Record-rows" tabIndex={0} role="region" aria-label={trans.__('Rows of the training jobs')}>
          <table className="kfx-Table">
            <thead>
              <tr>
                {!namespace && <th scope="col">{trans.__('Namespace')}</th>}
                <th scope="col">{trans.__('Name')}</th>
                <th scope="col">{trans.__('Framework')}</th>
                <th scope="col">{trans.__('State')}</th>
                <th scope="col">{trans.__('Replicas')}</th>
                <th scope="col">{trans.__('Took')}</th>
                <th scope="col">{trans.__('Age')}</th>
                {owned && <th scope="col">{trans.__('Owner')}</th>}
              </tr>
            </thead>
            <tbody>
              {rows.map(row => (
                <Line key={row.uid} row={row} now={at} space={!namespace} owned={owned} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {total > rows.length && <p className="kfx-Note">{trans.__('The newest %1 of %2.', rows.length, total)}</p>}
    </div>
  );
}

function Line({ row, now, space, owned }: { row: JobRow; now: number; space: boolean; owned: boolean }): React.JSX.Element {
  const kf = useKubeflow();
  const { trans } = kf;
  const took = row.started === null ? null : (row.finished ?? now) - row.started;
  const counts: [number, string][] = [
    [row.active, trans.__('running')],
    [row.succeeded, trans.__('done')],
    [row.failed, trans.__('failed')]
  ];
  const replicas = counts.filter(([count]) => count).map(([count, word]) => `${count} ${word}`);
  return (
    <tr
      className="kfx-JobRow"
      data-kind={row.kind}
      data-namespace={row.namespace}
      data-name={row.name}
      data-uid={row.uid}
      data-phase={row.phase}
      title={row.message || undefined}
    >
      {space && <td>{row.namespace}</td>}
      <td>
        <button type="button" className="kfx-Link" onClick={() => kf.execute(CommandIDs.openJob, { ...keyOf(row) })}>
          {row.name}
        </button>
      </td>
      <td>{frameworkTitle(row.framework) || row.kind}</td>
      <td>
        <Badge phase={row.phase} />
        {row.cause && <span className="kfx-dim"> {causeWord(trans, row.cause)}</span>}
      </td>
      <td>{replicas.join(', ') || trans._n('%1 asked for', '%1 asked for', row.replicas)}</td>
      <td>{duration(took)}</td>
      <td>{age(now - row.created)}</td>
      {owned && <td>{row.owner}</td>}
    </tr>
  );
}
