/** A job at a glance. */

import * as React from 'react';

import { useKubeflow } from '../../components/context';
import { Facts, Tail, Why } from '../../components/parts';
import { Plots } from '../../components/plot';
import { Replicas } from '../../components/replicas';
import { moment } from '../../format';
import { Waiting } from './reading';
import type { Common } from './reading';

export function Overview({ view, onReplica, jobKey }: Common & { onReplica: (name: string) => void }): React.JSX.Element {
  const { trans } = useKubeflow();
  if (!view) {
    return <Waiting />;
  }
  const facts: [string, string][] = [
    [trans.__('Kind'), jobKey.kind],
    [trans.__('Created'), moment(view.status.created)],
    [trans.__('Started'), moment(view.status.started)],
    [trans.__('Ended'), moment(view.status.finished)]
  ];
  return (
    <>
      <Why why={view.explanation} />
      <Plots view={view} height={170} most={6} />
      <h2 className="kfx-H">{trans.__('Replicas')}</h2>
      <Replicas replicas={view.replicas} onPick={onReplica} />
      <Tail view={view} count={12} />
      <h2 className="kfx-H">{trans.__('Facts')}</h2>
      <Facts facts={facts.filter(([, value]) => value)} />
    </>
  );
}
