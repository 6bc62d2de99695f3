/** Copies of requests to a version that answers none: to see how it would do before anybody gets its answers. */

import * as React from 'react';

import type { EndpointView } from '../wire';
import type { Changing } from './change';
import { useKubeflow } from './context';
import { VersionChoice } from './versionchoice';

const USUAL = 10;

export function Mirror({ view, changing }: { view: EndpointView; changing: Changing }): React.JSX.Element | null {
  const { trans } = useKubeflow();
  const [chosen, choose] = React.useState('');
  const [percent, setPercent] = React.useState<number | null>(null);
  const mirror = view.versions.find(one => one.mirror !== null);
  const could = mirror ? [mirror] : view.versions.filter(one => one.traffic === 0);
  const one = could.find(({ name }) => name === chosen) ?? could[0];
  if (!one || view.versions.length < 2) {
    return null;
  }
  const now = one.mirror ?? 0;
  const wanted = percent ?? (now || USUAL);
  const sound = Number.isInteger(wanted) && wanted >= 1 && wanted <= 100;
  const begin = (share: number) => changing.begin({ what: 'mirror', version: one.name, percent: share });
  return (
    <fieldset className="kfx-Traffic kfx-Mirror">
      <legend>{trans.__('Mirror')}</legend>
      <div className="kfx-Tools-row">
        {could.length > 1 ? (
          <VersionChoice versions={could} label={trans.__('Version that gets copies')} value={one.name} onChoose={choose} />
        ) : (
          <b>{one.name}</b>
        )}
        <label>
          {trans.__('gets copies of')}{' '}
          <input
            type="number"
            className="kfx-Input kfx-Percent"
            min={1}
            max={100}
            value={Number.isNaN(wanted) ? '' : wanted}
            aria-label={trans.__('Percent of the requests that %1 gets copies of', one.name)}
            data-lm-suppress-shortcuts=""
            onChange={event => setPercent(event.target.valueAsNumber)}
          />{' '}
          {trans.__('% of the requests; its answers are dropped')}
        </label>
        <button type="button" className="kfx-Button" disabled={changing.busy || !sound || wanted === now} onClick={() => begin(wanted)}>
          {trans.__('Review mirror …')}
        </button>
        {mirror && (
          <button type="button" className="kfx-Button" disabled={changing.busy} onClick={() => begin(0)}>
            {trans.__('End the mirror …')}
          </button>
        )}
      </div>
    </fieldset>
  );
}
