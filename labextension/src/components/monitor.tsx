/** What an endpoint's monitor found: alarms, and each feature and version against the reference, as a table with small pictures. */

import * as React from 'react';

import { barsOf } from '../endpoints';
import { moment, number } from '../format';
import type { Finding, Findings } from '../wire';
import { useKubeflow } from './context';

const WIDTH = 132;
const HEIGHT = 26;
const MOST_ALARMS = 5;

export function Monitor({ findings, unwatched, name }: { findings: Findings | null; unwatched: string; name: string }): React.JSX.Element | null {
  const { trans } = useKubeflow();
  if (!findings && !unwatched) {
    return null;
  }
  const warnings = [...(findings?.alarms ?? [])].reverse().slice(0, MOST_ALARMS);
  return (
    <>
      <h2 className="kfx-H">{trans.__('Monitoring')}</h2>
      {unwatched && (
        <div className="kfx-Notice" role="alert">
          {unwatched}
        </div>
      )}
      {findings && <p className="kfx-Note">{summary(findings, trans)}</p>}
      {warnings.length > 0 && (
        <ul className="kfx-Alarms" aria-label={trans.__('Alarms')}>
          {warnings.map(one => (
            <li key={`${one.when}${one.reason}`}>
              <span className="kfx-dim">{moment(one.when)}</span> <b>{one.reason}</b> {one.message}
            </li>
          ))}
        </ul>
      )}
      {findings && findings.findings.length > 0 && <Compared found={findings} name={name} />}
    </>
  );
}

type Trans = ReturnType<typeof useKubeflow>['trans'];

function summary(found: Findings, trans: Trans): string {
  const parts = [found.findings.length ? trans.__('%1 rows so far', found.rows) : trans.__('%1 rows so far, %2 are needed to say anything', found.rows, found.least)];
  parts.push(trans.__('the last %1 are looked at', found.window));
  if (found.sample < 1) {
    parts.push(trans.__('%1 percent of the requests are copied', number(found.sample * 100)));
  }
  if (found.dropped) {
    parts.push(trans.__('%1 copies were dropped', found.dropped));
  }
  if (found.unread) {
    parts.push(trans.__('%1 copies could not be read: %2', found.unread, found.why));
  }
  return [parts.join(' · '), found.trouble].filter(Boolean).join('. ');
}

function Compared({ found, name }: { found: Findings; name: string }): React.JSX.Element {
  const { trans } = useKubeflow();
  const { findings } = found;
  const words: Record<string, string> = {
    feature: trans.__('feature'),
    prediction: trans.__('predictions'),
    outliers: trans.__('outliers'),
    accuracy: trans.__('right answers'),
    bias: trans.__('groups')
  };
  const told = (value: number | null) => (value === null ? '' : number(value));
  return (
    <div className="kfx-Versions" tabIndex={0} role="region" aria-label={trans.__('What the monitor of %1 compared', name)}>
      <table className="kfx-Table">
        <thead>
          <tr>
            <th scope="col">{trans.__('What')}</th>
            <th scope="col">{trans.__('Of')}</th>
            <th scope="col">{trans.__('State')}</th>
            <th scope="col">{trans.__('Difference')}</th>
            <th scope="col">{trans.__('Now')}</th>
            <th scope="col">{trans.__('Reference')}</th>
            <th scope="col">{trans.__('Rows')}</th>
            <th scope="col">{trans.__('Reference and now')}</th>
          </tr>
        </thead>
        <tbody>
          {findings.map(one => (
            <tr key={`${one.about}/${one.name}`} data-finding={one.name}>
              <td>{words[one.about] ?? one.about}</td>
              <th scope="row">{one.name}</th>
              <td>
                <Standing finding={one} effect={found.effect} />
              </td>
              <td>{one.test ? number(one.size) : ''}</td>
              <td>{told(one.value)}</td>
              <td>{told(one.usual)}</td>
              <td>{one.rows}</td>
              <td>
                <Bars finding={one} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Whether it is an alarm; what differs by less, or has nothing to differ from, is not shown as well. */
function Standing({ finding, effect }: { finding: Finding; effect: number }): React.JSX.Element {
  const { trans } = useKubeflow();
  if (finding.alarm) {
    return <span className="kfx-Badge kfx-Failed">! {trans.__('alarm')}</span>;
  }
  if (finding.changed) {
    const less = finding.size < effect || finding.about === 'bias';
    return (
      <>
        <span className="kfx-Badge kfx-Unknown">
          <span aria-hidden="true">≠</span> {trans.__('changed')}
        </span>{' '}
        <span className="kfx-dim">{less ? trans.__('by less than the %1 of an alarm', number(effect)) : trans.__('for the better')}</span>
      </>
    );
  }
  return finding.test ? (
    <span>
      <span aria-hidden="true">✔</span> {trans.__('as usual')}
    </span>
  ) : (
    <span className="kfx-dim">{trans.__('no reference')}</span>
  );
}

/** The reference as outlines, what was seen as bars within them. */
function Bars({ finding }: { finding: Finding }): React.JSX.Element | null {
  const { trans } = useKubeflow();
  const bars = barsOf(finding);
  if (!bars.length) {
    return null;
  }
  const wide = WIDTH / bars.length;
  return (
    <svg className="kfx-Bars" role="img" aria-label={trans.__('%1: reference and now', finding.name)} width={WIDTH} height={HEIGHT} viewBox={`0 0 ${WIDTH} ${HEIGHT}`}>
      {bars.map((bar, n) => (
        <g key={bar.label}>
          <title>{bar.label}</title>
          <rect className="kfx-Bars-seen" x={n * wide + wide * 0.2} y={HEIGHT * (1 - bar.seen)} width={wide * 0.6} height={HEIGHT * bar.seen} />
          <path className="kfx-Bars-expected" d={`M${n * wide},${HEIGHT}V${HEIGHT * (1 - bar.expected)}H${(n + 1) * wide}V${HEIGHT}`} />
        </g>
      ))}
    </svg>
  );
}
