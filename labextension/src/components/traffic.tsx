/** How requests are divided between versions, by sliders that always sum to 100. */

import * as React from 'react';

import { rebalanced, sameShares, sharesOf } from '../endpoints';
import type { Shares } from '../endpoints';
import type { EndpointView } from '../wire';
import type { Changing } from './change';
import { useKubeflow } from './context';

export function Traffic({ view, changing }: { view: EndpointView; changing: Changing }): React.JSX.Element | null {
  const { trans } = useKubeflow();
  const base = sharesOf(view.versions);
  const names = Object.keys(base);
  const [draft, setDraft] = React.useState<Shares | null>(null);
  // What somebody began to set is kept while the versions are those, and dropped when it is what there is.
  const kept = draft && names.length === Object.keys(draft).length && names.every(name => name in draft) ? draft : null;
  const shares = kept ?? base;
  const moved = kept !== null && !sameShares(kept, base);
  if (names.length < 2) {
    return null;
  }
  return (
    <fieldset className="kfx-Traffic">
      <legend>{trans.__('Traffic')}</legend>
      {view.divided === false && <p className="kfx-Note">{trans.__('No Istio gateway can be used: only what notebooks ask is divided, and nothing is mirrored.')}</p>}
      {names.map(name => (
        <label key={name} className="kfx-Traffic-row">
          <span>{name}</span>
          <input
            type="range"
            min={0}
            max={100}
            step={1}
            value={shares[name] ?? 0}
            aria-label={trans.__('Percent of the requests to %1', name)}
            aria-valuetext={`${shares[name] ?? 0} %`}
            data-lm-suppress-shortcuts=""
            onChange={event => setDraft(rebalanced(shares, name, Number(event.target.value), base))}
          />
          <output>{shares[name] ?? 0} %</output>
          {moved && <span className="kfx-dim">{trans.__('now %1 %', base[name] ?? 0)}</span>}
        </label>
      ))}
      <div className="kfx-Tools-row">
        <button type="button" className="kfx-Button" disabled={!moved || changing.busy} onClick={() => changing.begin({ what: 'traffic', shares })}>
          {trans.__('Review change …')}
        </button>
        <button type="button" className="kfx-Button" disabled={!moved || changing.busy} onClick={() => setDraft(null)}>
          {trans.__('As it is')}
        </button>
      </div>
    </fieldset>
  );
}
