/** What can be done with a study. */

import * as React from 'react';

import { studyEnded } from '../study';
import { CommandIDs } from '../tokens';
import type { StudyHead } from '../wire';
import { useKubeflow } from './context';

export function StudyActions({ head, best }: { head: StudyHead; best: boolean }): React.JSX.Element {
  const kf = useKubeflow();
  const { client, trans } = kf;
  const key = { namespace: head.namespace, name: head.name, uid: head.uid };
  const run = (command: string, more: object = {}) => kf.execute(command, { ...key, ...more });
  // Where nothing is left of the budget, to resume is to extend.
  const left = !head.budget || head.done < head.budget;
  const copyables: [string, string][] = [
    ['magic', trans.__('Copy as magic')],
    ['python', trans.__('Copy as Python')],
    ['yaml', trans.__('Copy as YAML')],
    ['kubectl', trans.__('Copy as kubectl')]
  ];
  return (
    <>
      {!studyEnded(head) && (
        <button type="button" className="kfx-Button" onClick={() => run(CommandIDs.stopStudy)} title={trans.__('End it and the trials that run; what finished stays')}>
          ■ {trans.__('Stop')}
        </button>
      )}
      {head.resumable && left && (
        <button type="button" className="kfx-Button" onClick={() => run(CommandIDs.resumeStudy, { budget: head.budget, had: head.done })} title={trans.__('Let it go on from where it ended')}>
          ▶ {trans.__('Resume')}
        </button>
      )}
      {(!studyEnded(head) || head.resumable) && (
        <button type="button" className="kfx-Button" onClick={() => run(CommandIDs.extendStudy, { budget: head.budget })} title={trans.__('Give it more trials')}>
          {trans.__('Extend …')}
        </button>
      )}
      <button type="button" className="kfx-Button" onClick={() => run(CommandIDs.cloneStudy)} title={trans.__('The form of a study like it, as a new cell')}>
        {trans.__('Clone …')}
      </button>
      {best && (
        <>
          <button type="button" className="kfx-Button" onClick={() => run(CommandIDs.insertBest)} title={trans.__('The code with the best parameters, as a new cell')}>
            {trans.__('Best into a cell')}
          </button>
          <button type="button" className="kfx-Button kfx-primary" onClick={() => run(CommandIDs.promoteStudy)} title={trans.__('A training job with the best parameters')}>
            {trans.__('Train with the best')}
          </button>
        </>
      )}
      <select className="kfx-Select" aria-label={trans.__('Copy')} value="" onChange={event => run(CommandIDs.copyStudy, { as: event.target.value })}>
        <option value="" disabled hidden>
          {trans.__('Copy …')}
        </option>
        {copyables.map(([id, label]) => (
          <option key={id} value={id}>
            {label}
          </option>
        ))}
      </select>
      <a className="kfx-Button" href={client.studyTableUrl(key)} download={`${head.name}.csv`}>
        {trans.__('CSV')}
      </a>
    </>
  );
}
