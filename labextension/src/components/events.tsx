/** What happened to something, newest first. */

import * as React from 'react';

import { clean, clock, moment } from '../format';
import type { Event } from '../wire';
import { useKubeflow } from './context';

export function EventTable({ events }: { events: readonly Event[] }): React.JSX.Element {
  const { trans } = useKubeflow();
  return (
    <table className="kfx-Table">
      <thead>
        <tr>
          <th scope="col">{trans.__('Time')}</th>
          <th scope="col">{trans.__('About')}</th>
          <th scope="col">{trans.__('Reason')}</th>
          <th scope="col">{trans.__('Message')}</th>
        </tr>
      </thead>
      <tbody>
        {[...events].reverse().map((event, n) => (
          <tr key={n} className={event.type === 'Warning' ? 'kfx-warning' : undefined}>
            <td title={moment(event.last)}>{clock(event.last)}</td>
            <td>
              {event.about.kind} {event.about.name}
            </td>
            <td>
              {event.type === 'Warning' ? '⚠ ' : ''}
              {event.reason}
              {event.count > 1 ? ` ×${event.count}` : ''}
            </td>
            <td>{clean(event.message)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
