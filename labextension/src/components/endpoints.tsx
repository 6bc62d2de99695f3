/** The list of endpoints: how each is, which versions answer, and in which parts. */

import * as React from 'react';

import { phaseOf, sharesText } from '../endpoints';
import { age } from '../format';
import { SIGNS } from '../model';
import { CommandIDs } from '../tokens';
import type { EndpointRow, EndpointsFrame } from '../wire';
import { useKubeflow, useNow, useStanding } from './context';
import { Empty, phaseClass } from './parts';
import { stateWord } from './words';

export function EndpointList(): React.JSX.Element {
  const { client, trans } = useKubeflow();
  const standing = useStanding(client);
  const [state, setState] = React.useState<EndpointsFrame | null>(null);
  React.useEffect(() => {
    const watch = client.endpoints(setState);
    return () => watch.dispose();
  }, [client]);
  const rows = state?.rows ?? [];
  const now = useNow(rows.length > 0);
  const stale = standing.state !== 'live' && standing.state !== 'connecting';
  if (!rows.length) {
    return <Nothing state={state} asleep={standing.state === 'stopped'} />;
  }
  return (
    <div className={`kfx kfx-Studies${stale ? ' kfx-stale' : ''}`}>
      <ul className="kfx-Studies-list" aria-label={trans.__('Endpoints')}>
        {rows.map(row => (
          <Row key={row.uid} row={row} now={now} />
        ))}
      </ul>
      {state && state.total > rows.length && <p className="kfx-Note">{trans.__('The newest %1 of %2.', rows.length, state.total)}</p>}
    </div>
  );
}

function Row({ row, now }: { row: EndpointRow; now: number }): React.JSX.Element {
  const kf = useKubeflow();
  const { trans } = kf;
  const { namespace, name, uid } = row;
  const key = { namespace, name, uid };
  const when = age(now - row.created);
  const phase = phaseOf(row.state);
  const count = (what: 'ready' | 'wanted') => row.versions.reduce((total, one) => total + one[what], 0);
  const detail = [
    row.state === 'Ready' ? '' : stateWord(trans, row.state),
    sharesText(row.versions),
    trans.__('%1/%2 ready', count('ready'), count('wanted')),
    row.namespace
  ];
  // Of what is not well the reason counts for more than the shares.
  const told = row.state !== 'Ready' && row.message !== '';
  const title = [`${namespace}/${name}`, row.message, row.path, row.created ? new Date(row.created * 1000).toLocaleString() : ''];
  return (
    <li
      className={`kfx-Endpoint ${phaseClass(phase)}`}
      data-namespace={namespace}
      data-name={name}
      data-uid={uid}
      data-state={row.state}
    >
      <button type="button" className="kfx-Study-head" title={title.filter(Boolean).join('\n')} onClick={() => kf.execute(CommandIDs.openEndpoint, key)}>
        <span className="kfx-Row-sign" role="img" aria-label={stateWord(trans, row.state)}>
          {SIGNS[phase] ?? '○'}
        </span>
        <span className="kfx-Row-main">
          <span className="kfx-Row-name">{name}</span>
          <span className="kfx-Row-detail">
            {row.deleting ? trans.__('being deleted') : (told ? [stateWord(trans, row.state), row.message] : detail).filter(Boolean).join(' · ')}
          </span>
        </span>
        <span className="kfx-Row-age" title={trans.__('%1 ago', when)}>
          {when}
        </span>
      </button>
      <span className="kfx-Endpoint-actions">
        <button type="button" className="kfx-Icon" title={trans.__('Copy its address')} aria-label={trans.__('Copy the address of %1', name)} onClick={() => kf.execute(CommandIDs.copyEndpoint, key)}>
          ⧉
        </button>
        <button type="button" className="kfx-Icon" title={trans.__('Delete')} aria-label={trans.__('Delete %1', name)} onClick={() => kf.execute(CommandIDs.removeEndpoint, key)}>
          ✕
        </button>
      </span>
    </li>
  );
}

function Nothing({ state, asleep }: { state: EndpointsFrame | null; asleep: boolean }): React.JSX.Element {
  const { trans } = useKubeflow();
  if (!state) {
    return asleep ? <Empty title={trans.__('Your cluster is asleep')} /> : <div className="kfx" aria-busy="true" />;
  }
  if (!state.served) {
    return (
      <Empty title={trans.__('No endpoints on this cluster')}>
        <p>{trans.__('It has no Seldon, or your account may not see its SeldonDeployments.')}</p>
      </Empty>
    );
  }
  return (
    <Empty title={trans.__('No endpoints yet')}>
      <p>{trans.__('Serve a fitted model with')}</p>
      <pre className="kfx-Pre">%kf_serve model --name iris</pre>
    </Empty>
  );
}
