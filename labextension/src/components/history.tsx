/** What was changed of an endpoint, by whom, from where; each state can be gone back to. */

import * as React from 'react';

import { moment } from '../format';
import type { EndpointDetail, EndpointKey } from '../wire';
import type { Changing } from './change';
import { useKubeflow } from './context';

/** Letters of a model's hash by which it can be found again. */
const HASH = 8;

export function History({ endpoint, mark, changing }: { endpoint: EndpointKey; mark: string; changing: Changing | null }): React.JSX.Element | null {
  const kf = useKubeflow();
  const { client, trans } = kf;
  const [detail, setDetail] = React.useState<EndpointDetail | null>(null);
  const { namespace, name, uid } = endpoint;
  React.useEffect(() => {
    let live = true;
    client.endpointDetail({ namespace, name, uid }).then(
      found => live && setDetail(found),
      () => undefined // the page says itself how it stands with the cluster
    );
    return () => {
      live = false;
    };
  }, [client, namespace, name, uid, mark]);
  if (!detail) {
    return null;
  }
  return (
    <>
      <h2 className="kfx-H">{trans.__('History')}</h2>
      <div className="kfx-Versions" tabIndex={0} role="region" aria-label={trans.__('History of endpoint %1', name)}>
        <table className="kfx-Table">
          <thead>
            <tr>
              <th scope="col">{trans.__('Revision')}</th>
              <th scope="col">{trans.__('What')}</th>
              <th scope="col">{trans.__('Models')}</th>
              <th scope="col">{trans.__('Requests')}</th>
              <th scope="col">{trans.__('Who')}</th>
              <th scope="col">{trans.__('From')}</th>
              <th scope="col">{trans.__('When')}</th>
              {changing && (
                <th scope="col" className="kfx-Versions-change">
                  {trans.__('Change')}
                </th>
              )}
            </tr>
          </thead>
          <tbody>
            {detail.revisions.map((one, n) => (
              <tr key={one.number} data-revision={one.number}>
                <th scope="row">{one.number}</th>
                <td>{one.cause}</td>
                <td>
                  {Object.entries(one.models)
                    .filter(([, model]) => model)
                    .map(([version, model]) => (
                      <span key={version} className="kfx-History-model" title={model}>
                        {version} <code>{model.slice(0, HASH)}</code>
                      </span>
                    ))}
                </td>
                <td>
                  {Object.entries(one.traffic)
                    .filter(([, share]) => share)
                    .map(([version, share]) => `${version} ${share} %`)
                    .join(', ')}
                </td>
                <td>{one.author}</td>
                <td>
                  {one.notebook && (
                    <button type="button" className="kfx-Link" title={trans.__('Open %1', one.notebook)} onClick={() => kf.execute('docmanager:open', { path: one.notebook })}>
                      {one.notebook.split('/').pop()}
                    </button>
                  )}
                </td>
                <td>{moment(one.when || null)}</td>
                {changing && (
                  <td className="kfx-Versions-change">
                    {n > 0 && (
                      <button type="button" className="kfx-Button" disabled={changing.busy} aria-label={trans.__('Roll back to revision %1', one.number)} onClick={() => changing.begin({ what: 'rollback', revision: one.number })}>
                        {trans.__('Roll back …')}
                      </button>
                    )}
                  </td>
                )}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <h2 className="kfx-H">{trans.__('Address')}</h2>
      <pre className="kfx-Pre" tabIndex={0}>
        {detail.url}
      </pre>
    </>
  );
}
