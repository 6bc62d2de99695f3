/** A study in the main area. */

import { MainAreaWidget } from '@jupyterlab/apputils';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';
import * as React from 'react';

import { useKubeflow } from '../components/context';
import { Empty, phaseClass } from '../components/parts';
import { Body, useStudy } from '../components/study';
import type { StudyPage } from '../components/study';
import { kubeflowIcon } from '../icons';
import { NO_STUDY } from '../study';
import type { IKubeflow } from '../tokens';
import type { StudyKey } from '../wire';
import { widgetOf } from './side';

export class StudyPanel extends MainAreaWidget {
  constructor(
    kf: IKubeflow,
    readonly key: StudyKey,
    private _page: StudyPage
  ) {
    const box: { turned: (page: StudyPage) => void } = { turned: () => undefined };
    super({ content: widgetOf(kf, <Study studyKey={key} page={_page} onPage={page => box.turned(page)} />), translator: kf.translator });
    box.turned = page => {
      this._page = page;
      this._turned.emit(page);
    };
    this.id = studyId(key);
    this.title.label = key.name;
    this.title.caption = kf.trans.__('Study %1', `${key.namespace}/${key.name}`);
    this.title.icon = kubeflowIcon;
    this.title.closable = true;
    this.toolbar.hide();
    this.addClass('kfx-Main');
  }

  /** The page that is shown. */
  get page(): StudyPage {
    return this._page;
  }

  /** It was turned to another page. */
  get turned(): ISignal<this, StudyPage> {
    return this._turned;
  }

  private readonly _turned = new Signal<this, StudyPage>(this);
}

export function studyId(key: StudyKey): string {
  return `kf-study-${key.namespace}-${key.name}`;
}

function Study({ studyKey, page, onPage }: { studyKey: StudyKey; page: StudyPage; onPage: (page: StudyPage) => void }): React.JSX.Element {
  const kf = useKubeflow();
  const { trans } = kf;
  const { state, heard } = useStudy(kf, studyKey, NO_STUDY);
  const last = React.useRef(state);
  if (heard) {
    last.current = state;
  }
  // What was there is still to be read after it was deleted.
  const { head, trials, total } = last.current;
  const notice = state.gone ? trans.__('This study was deleted.') : state.error;
  return (
    <div className={`kfx kfx-StudyView kfx-StudyTab ${phaseClass(head?.state ?? '')}`}>
      {notice && head && (
        <div className="kfx-Notice" role="alert">
          {notice}
        </div>
      )}
      {head ? (
        <Body state={{ ...state, head, trials, total }} head={head} live={heard && !state.gone} page={page} onPage={onPage} />
      ) : notice ? (
        <Empty title={notice} />
      ) : (
        <div className="kfx-Loading" aria-busy="true" aria-label={trans.__('Loading')}>
          <div className="kfx-Row kfx-Row-blank" style={{ height: 40 }} />
        </div>
      )}
    </div>
  );
}
