/** What can be done with a job. */

import * as React from 'react';

import { useKubeflow } from '../../components/context';
import { finished } from '../../model';
import { CommandIDs } from '../../tokens';
import type { Copies } from '../../wire';
import type { Common } from './reading';

export function Actions({ jobKey, view, gone }: Common & { gone: boolean }): React.JSX.Element {
  const kf = useKubeflow();
  const { trans } = kf;
  const phase = view?.status.phase ?? '';
  const run = (command: string, more: object = {}) => kf.execute(command, { ...jobKey, ...more });
  const copyables: [keyof Copies, string][] = [
    ['magic', trans.__('Copy as magic')],
    ['python', trans.__('Copy as Python')],
    ['yaml', trans.__('Copy as YAML')],
    ['kubectl', trans.__('Copy as kubectl')]
  ];
  const stoppable = view && !finished(phase) && jobKey.kind !== 'ChainerJob';
  return (
    <span className="kfx-Actions">
      {stoppable && phase !== 'Suspended' && (
        <button type="button" className="kfx-Button" onClick={() => run(CommandIDs.suspend)} title={trans.__('End its replicas and keep the job; it can be resumed')}>
          ■ {trans.__('Stop')}
        </button>
      )}
      {stoppable && phase === 'Suspended' && (
        <button type="button" className="kfx-Button kfx-primary" onClick={() => run(CommandIDs.resume)}>
          ▶ {trans.__('Resume')}
        </button>
      )}
      {!gone && (
        <>
          <button type="button" className="kfx-Button" onClick={() => run(CommandIDs.rerun)} title={trans.__('The same job once more')}>
            ↻ {trans.__('Run again')}
          </button>
          <button
            type="button"
            className="kfx-Button"
            onClick={() => run(CommandIDs.clone)}
            title={trans.__('Fill the launch form with what it was made of')}
          >
            {trans.__('Change …')}
          </button>
          <select
            className="kfx-Select"
            aria-label={trans.__('Copy')}
            value=""
            onChange={event => {
              const { value } = event.target;
              if (value === 'cell') {
                run(CommandIDs.insertCell);
              } else {
                run(CommandIDs.copyAs, { as: value });
              }
            }}
          >
            <option value="" disabled hidden>
              {trans.__('Copy …')}
            </option>
            <option value="cell">{trans.__('Insert as cell')}</option>
            {copyables.map(([id, label]) => (
              <option key={id} value={id}>
                {label}
              </option>
            ))}
          </select>
          <button type="button" className="kfx-Button kfx-danger" onClick={() => run(CommandIDs.remove)}>
            ✕ {trans.__('Delete')}
          </button>
        </>
      )}
    </span>
  );
}
