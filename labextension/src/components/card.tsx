/** A job as a card: what a cell shows, and the first page of a job's own view. */

import * as React from 'react';

import { finished, frameworkTitle, keyOfView } from '../model';
import { CommandIDs } from '../tokens';
import type { JobView } from '../wire';
import { useJob, useKubeflow } from './context';
import { Badge, Chips, Elapsed, FrameworkMark, phaseClass, Progress, Tail, Why } from './parts';
import { Plots } from './plot';
import { phaseWord } from './words';

/** A recorded view that becomes live where the cluster can be asked. */
export function JobCard({ recorded }: { recorded: JobView }): React.JSX.Element {
  const kf = useKubeflow();
  const { trans } = kf;
  // What had ended when it was recorded does not change any more.
  const live = !finished(recorded.status.phase);
  const state = useJob(kf, live ? keyOfView(recorded) : null, recorded);
  const view = live && state.view && state.view.seen > recorded.seen ? state.view : recorded;
  const phase = view.status.phase;
  const { kind, namespace, name, uid } = view.ref;
  const key = { kind, namespace, name, uid };
  return (
    <div className={`kfx kfx-Card ${phaseClass(phase)}`} role="group" aria-label={trans.__('Job %1, %2', name, phaseWord(trans, phase))}>
      <div className="kfx-Head">
        <FrameworkMark name={view.framework} />
        <span className="kfx-Name">{name}</span>
        <Badge phase={phase} />
        <span className="kfx-dim">
          {frameworkTitle(view.framework)} · {namespace || 'default'}
        </span>
        <Elapsed view={view} />
        <span className="kfx-Actions">
          {!state.gone && (
            <button type="button" className="kfx-Button" onClick={() => kf.execute(CommandIDs.openJob, { ...key })}>
              {trans.__('Open')}
            </button>
          )}
          {!state.gone && !finished(phase) && phase !== 'Suspended' && kind !== 'ChainerJob' && (
            <button type="button" className="kfx-Button" onClick={() => kf.execute(CommandIDs.suspend, { ...key })}>
              {trans.__('Stop')}
            </button>
          )}
        </span>
      </div>
      {state.gone && <p className="kfx-Note">{trans.__('This job is not on the cluster any more; this is its last recorded state.')}</p>}
      <Progress value={view.progress} phase={phase} />
      <Chips replicas={view.replicas} onPick={replica => kf.execute(CommandIDs.openJob, { ...key, tab: 'logs', replica })} />
      <Why why={view.explanation} />
      <Plots view={view} height={140} most={6} />
      <Tail view={view} count={14} />
    </div>
  );
}
