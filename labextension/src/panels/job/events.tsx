/** What happened to a job, newest first. */

import * as React from 'react';

import { useKubeflow } from '../../components/context';
import { Empty } from '../../components/parts';
import { clean, moment } from '../../format';
import type { Event } from '../../wire';
import { useMark, useRead, Waiting } from './reading';
import type { Common } from './reading';

export function Events({ jobKey, view }: Common): React.JSX.Element {
  const { client, trans } = useKubeflow();
  const { value, error } = useRead<Event[]>(() => client.events(jobKey), useMark(view));
  if (error && !value) {
    return <Empty title={error} />;
  }
  if (!value) {
    return <Waiting />;
  }
  if (!value.length) {
    return (
      <Empty title={trans.__('No events')}>
        <p>{trans.__('Clusters forget them after about an hour.')}</p>
      </Empty>
    );
  }
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
        {[...value].reverse().map((event, n) => (
          <tr key={n} className={event.type === 'Warning' ? 'kfx-warning' : undefined}>
            <td title={moment(event.last)}>{event.last === null ? '' : new Date(event.last * 1000).toLocaleTimeString()}</td>
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
