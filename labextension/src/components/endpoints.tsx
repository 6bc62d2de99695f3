/** The list of endpoints: how each is, which versions answer, and in which parts. */

import type { TranslationBundle } from '@jupyterlab/translation';
import { copyIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { filteredEndpoints, phaseOf, sharesText } from '../endpoints';
import { age } from '../format';
import { SIGNS } from '../model';
import { CommandIDs } from '../tokens';
import type { EndpointRow, EndpointsFrame } from '../wire';
import { useKubeflow, useLeft, useNow, useStanding } from './context';
import { Empty, Facts, phaseClass } from './parts';
import { TryPane } from './tryit';
import { stateWord } from './words';

export function EndpointList(): React.JSX.Element {
  const { client, trans } = useKubeflow();
  const standing = useStanding(client);
  const [state, setState] = React.useState<EndpointsFrame | null>(null);
  React.useEffect(() => {
    const watch = client.endpoints(setState);
    return () => watch.dispose();
  }, [client]);
  const [open, setOpen] = React.useState('');
  const [{ text }, show] = useLeft('endpoints', { text: '' });
  const rows = state?.rows ?? [];
  const found = filteredEndpoints(rows, text);
  const now = useNow(rows.length > 0);
  const stale = standing.state !== 'live' && standing.state !== 'connecting';
  if (!rows.length) {
    return <Nothing state={state} asleep={standing.state === 'stopped'} />;
  }
  return (
    <div className={`kfx kfx-Studies${stale ? ' kfx-stale' : ''}`}>
      <div className="kfx-Tools kfx-Endpoints-filter">
        <input
          type="search"
          className="kfx-Input"
          placeholder={trans.__('Filter endpoints')}
          aria-label={trans.__('Filter endpoints by name, namespace, state or version')}
          value={text}
          onChange={event => show({ text: event.target.value })}
        />
      </div>
      {found.length === 0 && <p className="kfx-Note">{trans.__('No endpoint has “%1”.', text)}</p>}
      <div className="kfx-sr" role="status" aria-live="polite">
        {text ? trans._n('%1 endpoint', '%1 endpoints', found.length) : ''}
      </div>
      <ul className="kfx-Studies-list" aria-label={trans.__('Endpoints')}>
        {found.map(row => (
          <Row key={row.uid} row={row} now={now} open={open === row.uid} onToggle={() => setOpen(open === row.uid ? '' : row.uid)} />
        ))}
      </ul>
      {state && state.total > rows.length && <p className="kfx-Note">{trans.__('The newest %1 of %2.', rows.length, state.total)}</p>}
    </div>
  );
}

interface RowProps {
  row: EndpointRow;
  now: number;
  open: boolean;
  onToggle: () => void;
}

function Row({ row, now, open, onToggle }: RowProps): React.JSX.Element {
  const kf = useKubeflow();
  const { trans } = kf;
  const { namespace, name, uid } = row;
  const key = { namespace, name, uid };
  const when = age(now - row.created);
  const phase = phaseOf(row.state);
  const count = (what: 'ready' | 'wanted') => row.versions.reduce((total, one) => total + one[what], 0);
  const other = row.kind !== SELDON;
  const detail = [
    other ? kindWord(trans, row) : '',
    row.state === 'Ready' ? '' : stateWord(trans, row.state),
    sharesText(row.versions),
    trans.__('%1/%2 ready', count('ready'), count('wanted')),
    row.namespace
  ];
  // Of what is not well the reason counts for more than the shares.
  const told = row.message !== '';
  const title = [`${namespace}/${name}`, row.detail || row.message, row.path, row.created ? new Date(row.created * 1000).toLocaleString() : ''];
  return (
    <li
      className={`kfx-Endpoint ${phaseClass(phase)}`}
      data-namespace={namespace}
      data-name={name}
      data-uid={uid}
      data-kind={row.kind}
      data-state={row.state}
    >
      <button
        type="button"
        className="kfx-Study-head"
        title={title.filter(Boolean).join('\n')}
        aria-expanded={other ? open : undefined}
        onClick={() => (other ? onToggle() : kf.execute(CommandIDs.openEndpoint, key))}
      >
        <span className="kfx-Row-sign" role="img" aria-label={stateWord(trans, row.state)}>
          {SIGNS[phase] ?? '○'}
        </span>
        <span className="kfx-Row-main">
          <span className="kfx-Row-name">{name}</span>
          <span className="kfx-Row-detail">
            {row.deleting ? trans.__('being deleted') : (told ? [row.state === 'Ready' ? '' : stateWord(trans, row.state), row.message] : detail).filter(Boolean).join(' · ')}
          </span>
        </span>
        <span className="kfx-Row-age" title={trans.__('%1 ago', when)}>
          {when}
        </span>
      </button>
      {open && other && <Server row={row} />}
      <span className="kfx-Endpoint-actions" hidden={other}>
        <button type="button" className="kfx-Icon" title={trans.__('Copy its address')} aria-label={trans.__('Copy the address of %1', name)} onClick={() => kf.execute(CommandIDs.copyEndpoint, key)}>
          <copyIcon.react tag="span" width="14px" height="14px" />
        </button>
        <button type="button" className="kfx-Icon" title={trans.__('Delete')} aria-label={trans.__('Delete %1', name)} onClick={() => kf.execute(CommandIDs.removeEndpoint, key)}>
          ✕
        </button>
      </span>
    </li>
  );
}

const SELDON = 'SeldonDeployment';

/** What serves, of a row that is no SeldonDeployment. */
function kindWord(trans: TranslationBundle, row: EndpointRow): string {
  return row.kind === 'InferenceService' ? trans.__('KServe') : row.protocol === 'tensorflow' ? trans.__('TensorFlow Serving') : trans.__('Triton');
}

/** What is known of a server without an operator of Seldon's, and a request by hand. */
function Server({ row }: { row: EndpointRow }): React.JSX.Element {
  const kf = useKubeflow();
  const { client, trans } = kf;
  const address = row.url || row.path;
  const facts: [string, string][] = [
    [trans.__('Server'), kindWord(trans, row)],
    [trans.__('State'), [stateWord(trans, row.state), row.message].filter(Boolean).join(' · ')],
    [trans.__('Namespace'), row.namespace],
    [trans.__('Protocol'), row.protocol],
    ...row.versions.map((one): [string, string] => [one.name, `${one.traffic} % · ${trans.__('%1/%2 ready', one.ready, one.wanted)}`])
  ];
  return (
    <div className="kfx-Study-more kfx-Server">
      {row.detail && <p className="kfx-Note">{row.detail}</p>}
      <Facts facts={facts} />
      <pre className="kfx-Pre" tabIndex={0} role="region" aria-label={trans.__('Address')}>
        {[row.url, row.path].filter(Boolean).join('\n')}
      </pre>
      <button type="button" className="kfx-Button" onClick={() => kf.execute(CommandIDs.copyText, { text: address })}>
        {trans.__('Copy address')}
      </button>
      <h2 className="kfx-H">{trans.__('Try it')}</h2>
      <TryPane example="[[1, 1, 1, 1]]" ask={value => client.predictOther(row, { value })} tell={null} />
    </div>
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
