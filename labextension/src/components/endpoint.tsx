/** An endpoint: what a cell shows of it, and its tab. Live where the cluster can be asked, else as it was recorded. */

import * as React from 'react';

import { ENDPOINT } from '../client';
import { branchPlotsOf, keyOfEndpoint, NO_ENDPOINT, phaseOf, plotsOf } from '../endpoints';
import type { EndpointState } from '../endpoints';
import { number } from '../format';
import { SIGNS } from '../model';
import { CommandIDs } from '../tokens';
import type { IKubeflow } from '../tokens';
import type { EndpointKey, EndpointView, Totals, VersionView } from '../wire';
import { Review, useChange } from './change';
import type { Changing } from './change';
import { useKubeflow, useStanding } from './context';
import { Graph } from './graph';
import { GraphEditor } from './graphedit';
import { History } from './history';
import { Log } from './log';
import { Mirror } from './mirror';
import { Monitor } from './monitor';
import { Notice, phaseClass, Why } from './parts';
import { Plots } from './plot';
import { Servers } from './servers';
import { Traffic } from './traffic';
import { TryIt } from './tryit';
import { stateWord } from './words';

export function useEndpoint(kf: IKubeflow, key: EndpointKey): EndpointState {
  const [state, set] = React.useState<EndpointState>(NO_ENDPOINT);
  const { namespace, name, uid } = key;
  React.useEffect(() => {
    const watch = kf.client.endpoint({ namespace, name, uid }, set);
    return () => watch.dispose();
  }, [kf, namespace, name, uid]);
  return state;
}

/** A recorded view that becomes live where the cluster can be asked. */
export function EndpointCard({ recorded }: { recorded: EndpointView }): React.JSX.Element {
  const kf = useKubeflow();
  const key = keyOfEndpoint(recorded);
  const state = useEndpoint(kf, key);
  const view = state.view ?? recorded;
  return (
    <div className={`kfx kfx-Card kfx-EndpointCard ${phaseClass(phaseOf(view.state))}`} role="group" aria-label={kf.trans.__('Endpoint %1, %2', key.name, stateWord(kf.trans, view.state))}>
      <Body view={view} state={state} endpoint={key} live={state.view !== null && !state.gone} />
    </div>
  );
}

/** The whole page of an endpoint. */
export function EndpointPage({ endpoint }: { endpoint: EndpointKey }): React.JSX.Element {
  const kf = useKubeflow();
  const { trans } = kf;
  const state = useEndpoint(kf, endpoint);
  const { view } = state;
  if (!view) {
    return (
      <div className="kfx kfx-EndpointPage">
        <h1 className="kfx-Name">{endpoint.name}</h1>
        {state.gone || state.error ? (
          <div className="kfx-Notice" role="alert">
            {state.error || trans.__('This endpoint is not on the cluster any more.')}
          </div>
        ) : (
          <div className="kfx-Loading" aria-busy="true" aria-label={trans.__('Loading')} />
        )}
      </div>
    );
  }
  return (
    <div className={`kfx kfx-EndpointPage ${phaseClass(phaseOf(view.state))}`}>
      <Body view={view} state={state} endpoint={endpoint} live={!state.gone} page />
    </div>
  );
}

interface BodyProps {
  view: EndpointView;
  state: EndpointState;
  endpoint: EndpointKey;
  live: boolean;
  page?: boolean;
}

function Body({ view, state, endpoint, live, page = false }: BodyProps): React.JSX.Element {
  const kf = useKubeflow();
  const { trans } = kf;
  const changing = useChange(endpoint);
  const standing = useStanding(kf.client);
  const titles = {
    rate: trans.__('Requests per second'),
    errors: trans.__('Errors per second'),
    p50: trans.__('Median, ms'),
    p95: trans.__('95th percentile, ms'),
    p99: trans.__('99th percentile, ms'),
    reward: trans.__('Mean reward')
  };
  const branchTitles = { chosen: trans.__('Choices per second'), reward: trans.__('Mean reward by branch') };
  const measured = React.useMemo(
    () => plotsOf(state.samples, view.versions, titles),
    // Titles are words, which change with the language only.
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [state.samples, view.versions]
  );
  // eslint-disable-next-line react-hooks/exhaustive-deps
  const branches = React.useMemo(() => branchPlotsOf(state.samples, branchTitles, endpoint.name), [state.samples]);
  const busy = state.samples.some(one => Object.values(one.versions).some(({ rate }) => rate > 0));
  // An answer is here seconds before it is counted: who has it is not to be told that there was no request.
  const [asked, setAsked] = React.useState(false);
  const shares = Object.entries(view.pending ?? {});
  const Name = page ? 'h1' : 'span';
  return (
    <>
      <div className="kfx-Head">
        <Name className="kfx-Name">{endpoint.name}</Name>
        <StateBadge state={view.state} />
        <span className="kfx-dim">
          {[trans.__('Endpoint'), endpoint.namespace, view.protocol, view.revision ? trans.__('revision %1', view.revision) : ''].filter(Boolean).join(' · ')}
        </span>
        <span className="kfx-grow" />
        <span className="kfx-Actions">
          {!page && !state.gone && (
            <button type="button" className="kfx-Button" onClick={() => kf.execute(CommandIDs.openEndpoint, endpoint)}>
              {trans.__('Open')}
            </button>
          )}
          {!state.gone && (
            <button type="button" className="kfx-Button" onClick={() => kf.execute(CommandIDs.copyEndpoint, endpoint)}>
              {trans.__('Copy address')}
            </button>
          )}
          {page && !state.gone && (
            <button type="button" className="kfx-Button kfx-danger" onClick={() => kf.execute(CommandIDs.removeEndpoint, endpoint)}>
              ✕ {trans.__('Delete')}
            </button>
          )}
        </span>
      </div>
      {state.gone && <p className="kfx-Note">{trans.__('This endpoint is not on the cluster any more; this is its last recorded state.')}</p>}
      {state.error && (
        <div className="kfx-Notice" role="alert">
          {state.error}
        </div>
      )}
      {live && <Notice standing={standing} asleep={trans.__('Your cluster is asleep; this is what was seen last.')} />}
      {view.versions.map(one => (
        <Why key={one.name} why={one.explanation} />
      ))}
      {view.versions.some(one => one.asleep) && <p className="kfx-Note">{trans.__('No servers while nobody asks: %1. The next request starts them, and waits for it.', named(view.versions.filter(one => one.asleep)))}</p>}
      {view.versions.some(one => one.awake) && (
        <p className="kfx-Note" role="status">
          {trans.__('Not put to sleep: %1. Nothing on this cluster holds requests for what has no servers.', named(view.versions.filter(one => one.awake)))}
        </p>
      )}
      {view.message && !view.versions.some(one => one.asleep && view.state === 'Ready') && <Operator message={view.message} open={!view.versions.some(one => one.explanation)} />}
      <Versions view={view} totals={state.totals} changing={live ? changing : null} />
      {shares.length > 0 && (
        <p className="kfx-Note">{trans.__('Once all versions are ready: %1', shares.map(([name, share]) => `${name} ${share} %`).join(', '))}</p>
      )}
      {live && <Review changing={changing} />}
      {live && <Traffic view={view} changing={changing} />}
      {live && <Mirror view={view} changing={changing} />}
      {live && <Servers view={view} changing={changing} />}
      <Graph versions={view.versions} endpoint={endpoint.name} />
      {live && <GraphEditor view={view} endpoint={endpoint} changing={changing} />}
      {live && (
        <>
          {/* Above the plots, which the first request brings: they are not to push its answer out of sight. */}
          <h2 className="kfx-H">{trans.__('Try it')}</h2>
          <TryIt view={view} endpoint={endpoint} onAsk={() => setAsked(true)} />
        </>
      )}
      {live && branches && <Plots view={branches} clock height={page ? 150 : 110} />}
      {live && busy && <Plots view={measured} clock height={page ? 150 : 110} />}
      {live && !busy && !asked && <p className="kfx-Note">{trans.__('No requests while you have been looking.')}</p>}
      {live && <Monitor findings={state.findings} unwatched={state.unwatched} name={endpoint.name} />}
      {page && live && <Printed endpoint={endpoint} />}
      {page && <History endpoint={endpoint} mark={`${view.revision}/${changing.done}`} changing={live ? changing : null} />}
    </>
  );
}

function named(versions: readonly VersionView[]): string {
  return versions.map(({ name }) => name).join(', ');
}

/** What its servers print, read once somebody wants to see it. */
function Printed({ endpoint }: { endpoint: EndpointKey }): React.JSX.Element {
  const { trans } = useKubeflow();
  const [open, setOpen] = React.useState(false);
  const [replica, setReplica] = React.useState('');
  const { namespace, name, uid } = endpoint;
  const key = React.useMemo(() => ({ kind: ENDPOINT, namespace, name, uid }), [namespace, name, uid]);
  return (
    <details className="kfx-Printed" onToggle={event => setOpen(event.currentTarget.open)}>
      <summary className="kfx-H">{trans.__('Logs')}</summary>
      {open && <Log jobKey={key} view={null} replica={replica} onReplica={setReplica} />}
    </details>
  );
}

/** What the operator says, which names Deployments and conditions: for who wants to know. */
function Operator({ message, open }: { message: string; open: boolean }): React.JSX.Element {
  const { trans } = useKubeflow();
  return (
    <details className="kfx-Note" open={open}>
      <summary>{trans.__('What the operator says')}</summary>
      {message}
    </details>
  );
}

function StateBadge({ state }: { state: string }): React.JSX.Element {
  const { trans } = useKubeflow();
  const phase = phaseOf(state);
  return (
    <span className={`kfx-Badge ${phaseClass(phase)}`}>
      <span aria-hidden="true">{SIGNS[phase] ?? '○'}</span> {stateWord(trans, state)}
    </span>
  );
}

interface VersionsProps {
  view: EndpointView;
  totals: Record<string, Totals>;
  changing: Changing | null;
}

function Versions({ view, totals, changing }: VersionsProps): React.JSX.Element {
  const { trans } = useKubeflow();
  const rewarded = Object.values(totals).some(one => one.feedbacks);
  const measured = Object.keys(totals).length > 0;
  const several = view.versions.length > 1;
  return (
    <div className="kfx-Versions" tabIndex={0} role="region" aria-label={trans.__('Versions of endpoint %1', view.ref.name)}>
      <table className="kfx-Table">
        <thead>
          <tr>
            <th scope="col">{trans.__('Version')}</th>
            <th scope="col">{trans.__('State')}</th>
            <th scope="col">{trans.__('Requests')}</th>
            <th scope="col">{trans.__('Ready')}</th>
            <th scope="col">{trans.__('Model')}</th>
            {measured && (
              <>
                <th scope="col" title={trans.__('Since its servers started')}>
                  {trans.__('Answered')}
                </th>
                <th scope="col">{trans.__('Errors')}</th>
                <th scope="col">{trans.__('Median')}</th>
                <th scope="col" title={trans.__('Of 100 requests, 95 were answered within')}>
                  {trans.__('95 %')}
                </th>
                <th scope="col" title={trans.__('Of 100 requests, 99 were answered within')}>
                  {trans.__('99 %')}
                </th>
              </>
            )}
            {rewarded && <th scope="col">{trans.__('Reward')}</th>}
            {changing && several && <th scope="col" className="kfx-Versions-change">{trans.__('Change')}</th>}
          </tr>
        </thead>
        <tbody>
          {view.versions.map(one => (
            <Version key={one.name} one={one} seen={measured ? ((!one.asleep && totals[one.name]) || null) : undefined} rewarded={rewarded} changing={several ? changing : null} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface VersionProps {
  one: VersionView;
  /** Undefined where nothing is measured at all, null where this one has no servers that could have counted. */
  seen: Totals | null | undefined;
  rewarded: boolean;
  changing: Changing | null;
}

function Version({ one, seen, rewarded, changing }: VersionProps): React.JSX.Element {
  const { trans } = useKubeflow();
  const milliseconds = (seconds: number | null | undefined) => (typeof seconds === 'number' ? `${number(seconds * 1000)} ms` : '');
  const { name } = one;
  return (
    <tr data-version={name}>
      <th scope="row">{name}</th>
      <td>
        <StateBadge state={one.state} />
      </td>
      <td>
        {one.mirror === null ? (
          <span className="kfx-Share">
            {one.traffic} %
            <span className="kfx-Bar kfx-Running" aria-hidden="true">
              <div style={{ width: `${one.traffic}%` }} />
            </span>
          </span>
        ) : (
          <span className="kfx-dim">{trans.__('copies of %1 %', one.mirror)}</span>
        )}
      </td>
      <td>
        {one.asleep ? trans.__('asleep') : `${one.ready}/${one.wanted}`}
      </td>
      <td className="kfx-Versions-model" title={[one.called || one.graph, one.model].filter(Boolean).join('\n')}>
        {one.called || one.graph}
      </td>
      {seen !== undefined && (
        <>
          <td>{seen ? seen.requests - seen.errors : ''}</td>
          <td>{seen?.errors ?? ''}</td>
          <td>{milliseconds(seen?.p50)}</td>
          <td>{milliseconds(seen?.p95)}</td>
          <td>{milliseconds(seen?.p99)}</td>
        </>
      )}
      {rewarded && <td>{seen && seen.reward !== null ? `${number(seen.reward)} (${seen.feedbacks})` : ''}</td>}
      {changing && (
        <td className="kfx-Versions-change">
          {one.ready > 0 && (one.mirror !== null || one.traffic < 100) && (
            <button type="button" className="kfx-Button" disabled={changing.busy} aria-label={trans.__('Promote %1', name)} title={trans.__('All requests to this one; the others are taken away')} onClick={() => changing.begin({ what: 'promote', version: name })}>
              {trans.__('Promote …')}
            </button>
          )}{' '}
          {one.mirror === null && one.traffic === 0 && (
            <button type="button" className="kfx-Button" disabled={changing.busy} aria-label={trans.__('Take %1 away', name)} onClick={() => changing.begin({ what: 'remove', version: name })}>
              {trans.__('Take away …')}
            </button>
          )}
        </td>
      )}
    </tr>
  );
}
