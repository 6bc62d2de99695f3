/** The code of a job, and the record of what it was made of. */

import { Clipboard } from '@jupyterlab/apputils';
import * as React from 'react';

import { useKubeflow } from '../../components/context';
import { Editor } from '../../components/editor';
import { Empty } from '../../components/parts';
import { factsOf } from '../../provenance';
import type { JobDetail } from '../../wire';
import { useRead, Waiting } from './reading';
import type { Common } from './reading';

export function Code({ jobKey }: Common): React.JSX.Element {
  const { client, trans } = useKubeflow();
  const { value, error } = useRead<JobDetail>(() => client.detail(jobKey), '');
  if (!value) {
    return error ? <Empty title={error} /> : <Waiting />;
  }
  return (
    <>
      {value.code ? (
        <>
          <Head title={value.filename} text={value.code} />
          <Editor text={value.code} mime="text/x-python" label={trans.__('Code of %1', jobKey.name)} />
          {value.files.length > 1 && (
            <p className="kfx-dim">{trans.__('Shipped with it: %1', value.files.filter(file => file !== value.filename).join(', '))}</p>
          )}
        </>
      ) : (
        <Empty title={trans.__('Its code is in its image')} />
      )}
      <Record provenance={value.provenance} />
    </>
  );
}

function Head({ title, text }: { title: string; text: string }): React.JSX.Element {
  const { trans } = useKubeflow();
  return (
    <div className="kfx-Tools-row">
      <h2 className="kfx-H">{title}</h2>
      <span className="kfx-grow" />
      <button type="button" className="kfx-Button" aria-label={trans.__('Copy %1', title)} onClick={() => Clipboard.copyToSystem(text)}>
        {trans.__('Copy')}
      </button>
    </div>
  );
}

function Record({ provenance }: { provenance: JobDetail['provenance'] }): React.JSX.Element | null {
  const { trans } = useKubeflow();
  const facts = factsOf(provenance);
  if (!facts.length) {
    return null;
  }
  const title = trans.__('What it was made of');
  const names: Record<string, string> = {
    user: trans.__('Owner'),
    code: trans.__('Hash of the code'),
    commit: trans.__('Git commit'),
    main: trans.__('Program'),
    files: trans.__('Files'),
    image: trans.__('Image'),
    python: trans.__('Python'),
    packages: trans.__('Packages'),
    install: trans.__('Installed first'),
    profile: trans.__('Hardware profile'),
    params: trans.__('Parameters'),
    args: trans.__('Arguments'),
    output: trans.__('Results')
  };
  return (
    <>
      <Head title={title} text={JSON.stringify(provenance, null, 2)} />
      <table className="kfx-Table kfx-Record" aria-label={title}>
        <tbody>
          {facts.map(({ name, text, parts }) => (
            <tr key={name}>
              <th scope="row">{names[name] ?? name}</th>
              <td>
                {text && <code>{text}</code>}
                {parts.length > 0 && (
                  <dl className="kfx-Parts">
                    {parts.map(([part, said]) => (
                      <div key={part}>
                        <dt>{part}</dt>
                        <dd>{said}</dd>
                      </div>
                    ))}
                  </dl>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}
