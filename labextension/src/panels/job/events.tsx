/** What happened to a job, newest first. */

import * as React from 'react';

import { useKubeflow } from '../../components/context';
import { EventTable } from '../../components/events';
import { Empty } from '../../components/parts';
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
  return <EventTable events={value} />;
}
